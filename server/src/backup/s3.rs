//! Objects in a store that speaks S3. Where it is and who asks is read from the variables that AWS's own tools read.

mod http;

use std::env;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Buf as _, Bytes};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    RetryConfig,
};
use tokio::runtime::Handle;

use crate::backup::s3::http::Connector;
use crate::secure;

/// How much of an object is asked for at once.
const READ_BYTES: u64 = 8 << 20;
/// A store that is busy or cannot be reached is asked again for so long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES_MAX: usize = 5;

/// A bucket, and how it is reached.
pub(super) struct Bucket {
    name: String,
    store: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// Reads the environment. Nobody is asked yet. With `keep` the store is told to replace no object that is there.
    pub(super) fn connect(name: &str, keep: bool) -> Result<Self> {
        secure::keep_secrets()?;
        let found = Found::read(|name| env::var(name).ok().filter(|value| !value.is_empty()))?;
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_access_key_id(found.key_id)
            .with_secret_access_key(found.secret)
            .with_region(found.region)
            .with_retry(retry)
            .with_http_connector(Connector::new(found.authority.as_deref(), keep)?);
        if let Some(token) = found.token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = found.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().with_context(|| format!("s3://{name} cannot be reached"))?;
        Ok(Self { name: name.to_owned(), store: Arc::new(store) })
    }

    pub(super) fn object(self, key: Key) -> Object {
        Object { name: format!("s3://{}/{key}", self.name), store: self.store, key }
    }
}

/// What the environment says.
#[derive(PartialEq, Eq)]
struct Found {
    key_id: String,
    secret: String,
    token: Option<String>,
    region: String,
    /// `None`: Amazon's own, of the region.
    endpoint: Option<String>,
    /// Whom to believe in place of those the system believes.
    authority: Option<PathBuf>,
}

impl Found {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let needed = |name: &str| {
            variable(name).with_context(|| {
                format!("{name} is not set; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
            })
        };
        let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        if let Some(endpoint) = &endpoint {
            let allowed =
                variable("AWS_ALLOW_HTTP").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
            check_endpoint(endpoint, allowed)?;
        }
        Ok(Self {
            key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret: needed("AWS_SECRET_ACCESS_KEY")?,
            token: variable("AWS_SESSION_TOKEN"),
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint,
            authority: variable("AWS_CA_BUNDLE").map(PathBuf::from),
        })
    }
}

/// Refuses an endpoint to which all keys and values would go in the clear.
fn check_endpoint(endpoint: &str, http_allowed: bool) -> Result<()> {
    // What is wrong with it is told without it: some write passwords into URLs.
    let uri: hyper::Uri = endpoint.parse().ok().context("AWS_ENDPOINT_URL is no URL; write https://host:port")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        bail!("AWS_ENDPOINT_URL says neither https:// nor http://; write https://host:port");
    };
    if authority.as_str().contains('@') {
        bail!("AWS_ENDPOINT_URL holds a name or password; those belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    }
    match scheme {
        "https" => Ok(()),
        "http" if http_allowed => Ok(()),
        "http" => {
            // No name is looked up: what one stands for now it need not stand for when the backup leaves.
            let host = authority.host().trim_matches(['[', ']']);
            if host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
                return Ok(());
            }
            bail!(
                "{endpoint} is reached in the clear, and a backup holds every key and value: write https://, or on a \
                 network you trust set AWS_ALLOW_HTTP=true"
            )
        }
        other => bail!("AWS_ENDPOINT_URL begins with {other}://; write https://host:port"),
    }
}

/// An object that may be there or not.
pub(super) struct Object {
    name: String,
    store: Arc<dyn ObjectStore>,
    key: Key,
}

impl Object {
    pub(super) async fn exists(&self) -> Result<bool> {
        match self.store.head(&self.key).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(explain(&self.name, &error)),
        }
    }

    /// Begins to write it, in parts that become the object together.
    pub(super) async fn begin(&self) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart(&self.key).await.map_err(|error| explain(&self.name, &error))
    }

    /// Begins to read it.
    ///
    /// # Panics
    /// In a thread that other tasks wait for.
    pub(super) fn read(self) -> Result<ObjectReader> {
        let runtime = Handle::current();
        let meta = runtime.block_on(self.store.head(&self.key)).map_err(|error| explain(&self.name, &error))?;
        Ok(ObjectReader { object: self, meta, runtime, next: 0, rest: Bytes::new() })
    }
}

/// Reads an object piece by piece, all of them of the one that was there at the beginning.
pub(super) struct ObjectReader {
    object: Object,
    meta: ObjectMeta,
    runtime: Handle,
    /// Where the next piece begins.
    next: u64,
    rest: Bytes,
}

impl ObjectReader {
    /// How long it is.
    pub(super) fn size(&self) -> u64 {
        self.meta.size
    }

    fn piece(&self) -> object_store::Result<Bytes> {
        let end = self.meta.size.min(self.next + READ_BYTES);
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.next..end)),
            if_match: self.meta.e_tag.clone(),
            ..GetOptions::default()
        };
        self.runtime.block_on(async { self.object.store.get_opts(&self.object.key, options).await?.bytes().await })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.next < self.meta.size {
            self.rest = self.piece().map_err(|error| io::Error::other(reason(&error)))?;
            self.next += self.rest.len() as u64;
        }
        let count = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// Says what a store refused or why it was not reached.
pub(super) fn explain(name: &str, error: &Error) -> anyhow::Error {
    let reason = reason(error);
    match error {
        Error::NotFound { .. } if reason.contains("NoSuchBucket") => anyhow!("there is no bucket for {name}: {reason}"),
        Error::NotFound { .. } => anyhow!("{name} is not there: {reason}"),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            anyhow!("{name} is there already, and stays as it is; --force replaces it")
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => anyhow!(
            "the store lets these credentials do nothing with {name}: {reason}; see AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION"
        ),
        _ => anyhow!("the store did not serve {name}: {reason}; see AWS_ENDPOINT_URL, AWS_CA_BUNDLE and AWS_REGION"),
    }
}

/// The last of an error's causes: those before it repeat it, with addresses and how often it was tried.
fn reason(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    text.strip_prefix("Server returned non-2xx status code: ").unwrap_or(&text).trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests;
