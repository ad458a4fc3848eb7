//! Reading PEM, and checking what it says.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use webpki::{EndEntityCert, Error as Invalid, KeyUsage};
use zeroize::Zeroizing;

use crate::error::{TlsError, listed, plain};

/// What follows a node's label in its certificate.
pub(crate) const SUFFIX: &str = ".hezong";
/// The last second that a certificate can speak of.
const END_OF_TIME: u64 = 253_402_300_799;
/// What is said of a file that is cut short or not PEM. Not what was found in it: that may be part of a key.
const NOT_WHOLE: &str = "it is not whole PEM";
/// What is said of a certificate that does not parse.
const NOT_X509: &str = "what it holds is no certificate of X.509";

/// Where a certificate, its key and the authorities lie, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and after it those between it and the authority, if there are any.
    pub certificate: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
    /// The authorities whose certificates are believed: one, or two while one takes over from the other.
    pub authority: PathBuf,
}

/// The name a node of this label has in its certificate.
///
/// # Errors
/// [`TlsError::Label`] when the label cannot be part of a host name. Host names know no capitals, and labels do, so
/// capitals are refused: two nodes must never share a name.
pub fn name_of_node(label: &str) -> Result<ServerName<'static>, TlsError> {
    let refused = || TlsError::Label(label.to_owned());
    if label.chars().any(char::is_uppercase) {
        return Err(refused());
    }
    match ServerName::try_from(format!("{label}{SUFFIX}")) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        Ok(_) | Err(_) => Err(refused()),
    }
}

/// The labels of the nodes that a certificate names: one for a node, none for a client.
#[must_use]
pub fn labels(certificate: &CertificateDer<'_>) -> Vec<String> {
    let names = names(certificate).into_iter().map(|name| name.to_lowercase());
    let labels = names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned));
    labels.filter(|label| !label.contains('*')).collect()
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = EndEntityCert::try_from(certificate);
    parsed.map(|parsed| parsed.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default()
}

/// The authorities in a file.
pub(crate) fn read_authority(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|_| damaged(path, NOT_X509))?;
    }
    Ok(Arc::new(roots))
}

/// A certificate and its key, checked to be a pair.
pub(crate) fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = read_certificates(certificate)?;
    let private = read_key(key)?;
    let unusable = |error: rustls::Error| TlsError::Unusable { path: key.to_owned(), reason: error.to_string() };
    let private = provider.key_provider.load_private_key(private).map_err(unusable)?;
    let pair = CertifiedKey::new(chain, private);
    match pair.keys_match() {
        // Of a key that cannot tell its public half nothing is known; a handshake would show.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch { key: key.to_owned(), certificate: certificate.to_owned() })
        }
        Err(_) => Err(damaged(certificate, NOT_X509)),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|_| damaged(path, NOT_WHOLE))?;
    if found.is_empty() {
        return Err(TlsError::Missing { path: path.to_owned(), what: "certificate", mark: "CERTIFICATE" });
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        tracing::warn!("{} may be read by others than its owner; chmod 600 it", path.display());
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::Missing { path: path.to_owned(), what: "key", mark: "PRIVATE KEY" },
        _ => damaged(path, NOT_WHOLE),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = fs::read(path).map(Zeroizing::new);
    read.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn damaged(path: &Path, reason: &'static str) -> TlsError {
    TlsError::Damaged { path: path.to_owned(), reason }
}

/// Checks that the certificate is of the authority, valid now, and for both ends of a connection. Returns until when.
pub(crate) fn check_chain(
    files: &Files,
    pair: &CertifiedKey,
    roots: &RootCertStore,
    provider: &CryptoProvider,
) -> Result<Option<UnixTime>, TlsError> {
    let path = || files.certificate.clone();
    let (first, between) = pair.cert.split_first().expect("a file without a certificate was refused");
    let certificate = EndEntityCert::try_from(first).map_err(|_| damaged(&files.certificate, NOT_X509))?;
    let algorithms = provider.signature_verification_algorithms.all;
    let verify = |usage, time| {
        certificate.verify_for_usage(algorithms, &roots.roots, between, time, usage, None, None).map(drop)
    };
    let now = UnixTime::now();
    let ends = [(KeyUsage::server_auth(), "by a server"), (KeyUsage::client_auth(), "by one that dials")];
    for (usage, purpose) in ends {
        verify(usage, now).map_err(|error| match error {
            Invalid::CertExpired { not_after, .. } => {
                TlsError::Expired { path: path(), seconds: now.as_secs().saturating_sub(not_after.as_secs()) }
            }
            Invalid::CertNotValidYet { not_before, .. } => {
                TlsError::NotYetValid { path: path(), seconds: not_before.as_secs().saturating_sub(now.as_secs()) }
            }
            Invalid::UnknownIssuer | Invalid::InvalidSignatureForPublicKey => {
                TlsError::OtherAuthority { certificate: path(), authority: files.authority.clone() }
            }
            Invalid::RequiredEkuNotFoundContext(_) => TlsError::Purpose { path: path(), purpose },
            other => TlsError::Unusable { path: path(), reason: other.to_string() },
        })?;
    }
    // The certificate's end is told only by one that looks at it from beyond.
    Ok(match verify(KeyUsage::server_auth(), UnixTime::since_unix_epoch(Duration::from_secs(END_OF_TIME))) {
        Err(Invalid::CertExpired { not_after, .. }) => Some(not_after),
        Ok(()) | Err(_) => None,
    })
}

/// Checks that the certificate is this node's own.
pub(crate) fn check_label(files: &Files, pair: &CertifiedKey, label: &str) -> Result<(), TlsError> {
    let wanted = name_of_node(label)?;
    let first = pair.cert.first().expect("a file without a certificate was refused");
    if labels(first).iter().any(|found| found == label) {
        return Ok(());
    }
    Err(TlsError::OtherName {
        path: files.certificate.clone(),
        found: listed(&names(first)),
        wanted: wanted.to_str().into_owned(),
        label: label.to_owned(),
    })
}

/// Checks that the certificate is of the host that clients are sent to: they believe it of no other.
pub(crate) fn check_host(files: &Files, pair: &CertifiedKey, label: &str, host: &str) -> Result<(), TlsError> {
    let path = || files.certificate.clone();
    let first = pair.cert.first().expect("a file without a certificate was refused");
    let certificate = EndEntityCert::try_from(first).map_err(|_| damaged(&files.certificate, NOT_X509))?;
    let unusable = |reason: String| TlsError::Unusable { path: path(), reason };
    let name = ServerName::try_from(host).map_err(|_| unusable(format!("{host} can stand in no certificate")))?;
    certificate.verify_is_valid_for_subject_name(&name).map_err(|error| match error {
        Invalid::CertNotValidForName(context) => {
            let found = context.presented.iter().map(|name| plain(name)).collect::<Vec<_>>();
            let (host, label) = (host.to_owned(), label.to_owned());
            TlsError::OtherHost { path: path(), found: listed(&found), host, label }
        }
        other => unusable(other.to_string()),
    })
}

/// What tells a file that was replaced or written to from the same file as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([Option<Seen>; 3]);

/// Device, inode, size, and when it was last written to, in seconds and nanoseconds.
type Seen = (u64, u64, u64, i64, i64);

impl Stamp {
    pub(crate) fn of(files: &Files) -> Self {
        Self([&files.certificate, &files.key, &files.authority].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_node_takes_labels_that_are_host_names() {
        for good in ["node01", "a", "rack-3.eu", "n_1"] {
            assert_eq!(name_of_node(good).unwrap().to_str(), format!("{good}.hezong"));
        }
        for bad in ["", "Node01", "no de", "*", "-a-.", "ä", &"x".repeat(64)] {
            assert!(matches!(name_of_node(bad), Err(TlsError::Label(_))), "{bad:?}");
        }
    }
}
