//! Making certificates: an authority for a cluster, and with it certificates for its nodes and clients. For development,
//! and for whoever has no authority of their own; those who have need nothing from here.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use zeroize::Zeroizing;

use crate::error::TlsError;
use crate::files::{SUFFIX, name_of_node};

/// Clocks of machines differ: what is made now is valid to one that is late by this much.
const EARLIER: Duration = Duration::from_secs(3_600);

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The authority's files cannot be read.
    #[error("{} cannot be read: {source}; make an authority first: hezong cert authority DIR", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files that are no authority this program can sign with.
    #[error("{} and {} are no authority made by `hezong cert authority`; have your own authority sign instead", .certificate.display(), .key.display())]
    Authority {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A label that cannot stand in a certificate.
    #[error(transparent)]
    Label(#[from] TlsError),
    /// A host that cannot stand in a certificate.
    #[error(
        "{0:?} is neither a host name nor an address; write it as clients will dial it, without a port: host1, 10.0.0.1"
    )]
    Host(String),
    /// A host that would make the certificate another node's.
    #[error("{0} is the name of a node, not of a host; the node's own name is added by itself")]
    HostIsNode(String),
    /// A client's name that cannot stand in a certificate.
    #[error("{0:?} is no name for a client; write 1 to 64 letters, digits, dots and hyphens")]
    Name(String),
    /// The library that makes certificates refused.
    #[error("the certificate cannot be made: {0}")]
    Library(#[from] rcgen::Error),
}

/// A certificate and its key, both PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, which is forgotten thoroughly.
    pub key: Zeroizing<String>,
}

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: SystemTime,
    /// Until then.
    pub until: SystemTime,
}

impl Validity {
    /// From now on, for so many days.
    #[must_use]
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self { from: now - EARLIER, until: now + Duration::from_secs(86_400 * u64::from(days)) }
    }
}

/// An authority that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// [`MakeError::Library`].
    pub fn new(validity: Validity) -> Result<Self, MakeError> {
        let key = KeyPair::generate()?;
        let params = authority(&key, Some(validity));
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// [`MakeError::Read`] and [`MakeError::Authority`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, MakeError> {
        let read =
            |path: &Path| fs::read_to_string(path).map_err(|source| MakeError::Read { path: path.to_owned(), source });
        let refused = || MakeError::Authority { certificate: certificate.to_owned(), key: key.to_owned() };
        let (text, secret) = (read(certificate)?, Zeroizing::new(read(key)?));
        let found = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| refused())?;
        let anchor = webpki::anchor_from_trusted_cert(&found).map_err(|_| refused())?;
        let key = KeyPair::from_pem(&secret).map_err(|_| refused())?;
        // Its name is made of its key, so that the key alone tells what stands in the certificate as the issuer.
        let params = authority(&key, None);
        let name = name_of(&params, &key);
        let same_name = anchor.subject.windows(name.len()).any(|part| part == name.as_bytes());
        if !same_name || !key.subject_public_key_info().ends_with(&anchor.subject_public_key_info) {
            return Err(refused());
        }
        Ok(Self { issuer: Issuer::new(params, key), certificate: text })
    }

    /// Its certificate, which everybody may see.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key: whoever has it can be anybody.
    #[must_use]
    pub fn key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// A certificate for the node with this label, reached under these names and addresses.
    ///
    /// # Errors
    /// [`MakeError`], when the label or a host cannot stand in it.
    pub fn node(&self, label: &str, hosts: &[String], validity: Validity) -> Result<Pair, MakeError> {
        let mut names = vec![name_of_node(label)?.to_str().into_owned()];
        for host in hosts {
            if host.to_lowercase().trim_end_matches('.').ends_with(SUFFIX) {
                return Err(MakeError::HostIsNode(host.clone()));
            }
            let plain = host.trim_start_matches('[').trim_end_matches(']');
            if plain.parse::<IpAddr>().is_err() && ServerName::try_from(plain).is_err() {
                return Err(MakeError::Host(host.clone()));
            }
            names.push(plain.to_owned());
        }
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, label, validity)
    }

    /// A certificate for a client of this name.
    ///
    /// # Errors
    /// [`MakeError::Name`].
    pub fn client(&self, name: &str, validity: Validity) -> Result<Pair, MakeError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(MakeError::Name(name.to_owned()));
        }
        let mut params = CertificateParams::new(Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name, validity)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, validity: Validity) -> Result<Pair, MakeError> {
        let key = KeyPair::generate()?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (validity.from.into(), validity.until.into());
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// What stands in the certificate of the authority with this key.
fn authority(key: &KeyPair, validity: Option<Validity>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&name_of(&params, key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if let Some(validity) = validity {
        (params.not_before, params.not_after) = (validity.from.into(), validity.until.into());
    }
    params
}

fn name_of(params: &CertificateParams, key: &KeyPair) -> String {
    let digest = params.key_identifier(key);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("hezong authority {hex}")
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
