//! A node's ends of connections: to and from its peers, and from clients. What it shows and whom it believes may change
//! while it runs; connections that stand keep what they began with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::TlsError;
use crate::files::{Files, Stamp, check_chain, check_host, check_label, name_of_node, read_authority, read_pair};

/// What a client must show to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Nothing.
    Anyone,
    /// A certificate of the cluster's authority.
    Certified,
}

/// A node's certificate and key, and the authorities it believes. Clones are the same.
#[derive(Clone)]
pub struct NodeTls(Arc<Inner>);

struct Inner {
    files: Files,
    label: String,
    /// Where clients are sent; `None`: nobody has said, and nothing is checked.
    host: Option<String>,
    clients: Clients,
    /// What new connections use.
    current: RwLock<Loaded>,
    looks: Mutex<Looks>,
}

struct Loaded {
    accept: Arc<ServerConfig>,
    dial: Arc<ClientConfig>,
    serve: Arc<ServerConfig>,
    /// `None` when the certificate does not say.
    valid_until: Option<UnixTime>,
}

/// What was seen of the files.
struct Looks {
    /// As they were when they were last read, whatever came of it: a bad file is told once.
    read: Stamp,
    /// As they were at the last look.
    last: Stamp,
}

impl NodeTls {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`TlsError`]: a file that cannot be read or is damaged, a pair that does not fit, a certificate that is expired, of
    /// another authority, or not of the node with this label.
    pub fn load(files: Files, label: &str, clients: Clients) -> Result<Self, TlsError> {
        Self::load_with(files, label, None, clients)
    }

    /// The same for a node whose clients are sent to `host`, a name or an address without a port: what is read, now and
    /// later, must be of that host too.
    ///
    /// # Errors
    /// As [`NodeTls::load`], and [`TlsError::OtherHost`].
    pub fn load_at(files: Files, label: &str, host: &str, clients: Clients) -> Result<Self, TlsError> {
        Self::load_with(files, label, Some(host.to_owned()), clients)
    }

    fn load_with(files: Files, label: &str, host: Option<String>, clients: Clients) -> Result<Self, TlsError> {
        let stamp = Stamp::of(&files);
        let loaded = Loaded::read(&files, label, host.as_deref(), clients)?;
        let (label, current) = (label.to_owned(), RwLock::new(loaded));
        let looks = Mutex::new(Looks { read: stamp, last: stamp });
        Ok(Self(Arc::new(Inner { files, label, host, clients, current, looks })))
    }

    /// Looks at the files, and takes what is new into use once two looks have seen the same: a certificate is not read
    /// between its own replacement and its key's. Says whether it did.
    ///
    /// # Errors
    /// [`TlsError`], once for each change: what was in use stays in use.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let now = Stamp::of(&self.0.files);
        let mut looks = self.0.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = looks.last == now;
        looks.last = now;
        if !settled || looks.read == now {
            return Ok(false);
        }
        looks.read = now;
        drop(looks);
        self.take_new().map(|()| true)
    }

    /// Reads the files now and takes them into use.
    ///
    /// # Errors
    /// As [`NodeTls::refresh`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner).read = Stamp::of(&self.0.files);
        self.take_new()
    }

    fn take_new(&self) -> Result<(), TlsError> {
        let new = Loaded::read(&self.0.files, &self.0.label, self.0.host.as_deref(), self.0.clients)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Checks that it is for the node of this label.
    ///
    /// # Errors
    /// [`TlsError::OtherName`].
    pub fn check_label(&self, label: &str) -> Result<(), TlsError> {
        if self.0.label == label {
            return Ok(());
        }
        let wanted = name_of_node(label)?.to_str().into_owned();
        let found = name_of_node(&self.0.label)?.to_str().into_owned();
        Err(TlsError::OtherName { path: self.0.files.certificate.clone(), found, wanted, label: label.to_owned() })
    }

    /// When the certificate in use expires, if it does.
    #[must_use]
    pub fn valid_until(&self) -> Option<SystemTime> {
        let until = self.current(|loaded| loaded.valid_until)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until.as_secs()))
    }

    /// Whether the certificate in use has expired: whoever checks it refuses it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // It holds to the end of its last second.
        self.valid_until().is_some_and(|until| until + Duration::from_secs(1) <= SystemTime::now())
    }

    /// For connections from peers.
    #[must_use]
    pub fn to_accept(&self) -> Arc<ServerConfig> {
        self.current(|loaded| Arc::clone(&loaded.accept))
    }

    /// For connections to peers, under the name that [`name_of_node`](crate::name_of_node) gives.
    #[must_use]
    pub fn to_dial(&self) -> Arc<ClientConfig> {
        self.current(|loaded| Arc::clone(&loaded.dial))
    }

    /// For connections from clients.
    #[must_use]
    pub fn to_serve(&self) -> Arc<ServerConfig> {
        self.current(|loaded| Arc::clone(&loaded.serve))
    }

    fn current<T>(&self, of: impl FnOnce(&Loaded) -> T) -> T {
        of(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTls").field("files", &self.0.files).field("clients", &self.0.clients).finish()
    }
}

impl Loaded {
    fn read(files: &Files, label: &str, host: Option<&str>, clients: Clients) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = read_authority(&files.authority)?;
        let pair = read_pair(&files.certificate, &files.key, &provider)?;
        let valid_until = check_chain(files, &pair, &roots, &provider)?;
        check_label(files, &pair, label)?;
        if let Some(host) = host {
            check_host(files, &pair, label, host)?;
        }
        let unusable = |reason: String| TlsError::Unusable { path: files.authority.clone(), reason };
        let certified = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let own = || Arc::new(SingleCertAndKey::from(Arc::clone(&pair)));

        // Resumed sessions would be let in by a certificate that was checked long ago, so there are none wherever
        // certificates decide.
        let mut accept = server(&provider, Some(&certified), &[&TLS13]).with_cert_resolver(own());
        without_resumption(&mut accept);
        let mut serve = match clients {
            Clients::Anyone => server(&provider, None, rustls::ALL_VERSIONS).with_cert_resolver(own()),
            Clients::Certified => {
                let mut serve = server(&provider, Some(&certified), rustls::ALL_VERSIONS).with_cert_resolver(own());
                without_resumption(&mut serve);
                serve
            }
        };
        serve.alpn_protocols = vec![b"http/1.1".to_vec()];
        let dial = Arc::new(dialler(&provider, &roots, &pair));
        Ok(Self { accept: Arc::new(accept), dial, serve: Arc::new(serve), valid_until })
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    clients: Option<&Arc<dyn rustls::server::danger::ClientCertVerifier>>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, Arc::clone);
    ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .expect("ring speaks these versions")
        .with_client_cert_verifier(verifier)
}

fn without_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

fn dialler(provider: &Arc<CryptoProvider>, roots: &Arc<RootCertStore>, pair: &Arc<CertifiedKey>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(Arc::clone(roots))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(pair))));
    config.resumption = Resumption::disabled();
    config
}
