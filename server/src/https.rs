//! How requests leave for what is no node of ours: stores of objects, collectors of traces.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// What verifies a certificate as other programs of this machine do.
pub(crate) fn system_tls() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("this machine believes no authority; install ca-certificates");
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Connects in the clear or encrypted, as the URL says.
pub(crate) fn connector(tls: Arc<ClientConfig>, timeout: Duration) -> HttpsConnector<HttpConnector> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    HttpsConnector::from((connector, tls))
}
