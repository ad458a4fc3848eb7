//! A client's end of a connection.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;

use crate::error::TlsError;
use crate::files::{read_authority, read_pair};

/// Whom a client believes, and what it shows if it is asked who it is.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Reads the authorities, and the client's own certificate and key if it has any.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn load(authority: &Path, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = read_authority(authority)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let pair = read_pair(certificate, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// What a connector is made of.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}
