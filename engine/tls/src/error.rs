//! What is wrong with files, and what went wrong in a handshake, as sentences for people.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why certificates cannot be used. Nothing was changed: what was in use before stays in use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file without what it is for.
    #[error("{} holds no {what} in PEM (no line that begins with -----BEGIN {mark}); is it the right file?", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// How that begins in PEM.
        mark: &'static str,
    },
    /// A file with something in it that is not what it claims to be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Certificate and key are not of a pair.
    #[error("{} is not the key of {}; name the two files that were made together", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The certificate is too old.
    #[error("{} expired {} ago; renew it (hezong cert node)", .path.display(), span(*.seconds))]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// How long ago.
        seconds: u64,
    },
    /// The certificate is too new.
    #[error("{} is not valid before {} from now; is the clock right?", .path.display(), span(*.seconds))]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// How long until then.
        seconds: u64,
    },
    /// The certificate is not signed by one of the authorities.
    #[error("{} is from another authority than those in {}; name the files of one cluster", .certificate.display(), .authority.display())]
    OtherAuthority {
        /// The certificate's file.
        certificate: PathBuf,
        /// The authorities' file.
        authority: PathBuf,
    },
    /// The certificate is of another node, or of none.
    #[error("{} is of {found}, and this node needs one of {wanted}; make it with: hezong cert node {label}", .path.display())]
    OtherName {
        /// The certificate's file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
        /// The node's label.
        label: String,
    },
    /// The certificate is of the node, and not of the host that clients dial.
    #[error(
        "{} is of {found}, and clients are sent to {host}, where they would refuse it; make one that names that host too: \
         hezong cert node {label} --host {host}",
        .path.display()
    )]
    OtherHost {
        /// The certificate's file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Where clients are sent.
        host: String,
        /// The node's label.
        label: String,
    },
    /// The certificate may not be used for what a node does.
    #[error("{} may not be used {purpose} (its extended key usage forbids it); make one with: hezong cert node", .path.display())]
    Purpose {
        /// The certificate's file.
        path: PathBuf,
        /// What it lacks.
        purpose: &'static str,
    },
    /// The certificate cannot be used for some other reason.
    #[error("{} cannot be used: {reason}", .path.display())]
    Unusable {
        /// The certificate's or the key's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A label that cannot stand in a certificate.
    #[error(
        "with TLS a node's label is part of a host name, and {0:?} cannot be: write small letters, digits and hyphens, as node02"
    )]
    Label(String),
}

/// Why a handshake failed, or a connection broke, seen from this side; the other side is "it".
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => its_certificate(reason),
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "it does not speak TLS".to_owned()
        }
        Error::PeerIncompatible(reason) => format!("it speaks another TLS than this side ({reason:?})"),
        Error::AlertReceived(alert) => {
            our_certificate(*alert).map_or_else(|| format!("it broke off the TLS handshake: {alert:?}"), str::to_owned)
        }
        other => other.to_string(),
    }
}

/// The same for an error of a stream, which may be one of TLS inside.
#[must_use]
pub fn explain_io(error: &io::Error) -> String {
    in_stream(error).map_or_else(|| error.to_string(), explain)
}

/// What an error of some library says of TLS, if TLS is what it is about in the end.
#[must_use]
pub fn inside<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error of a stream hides what is inside from whoever asks for its source.
        let found = error.downcast_ref::<io::Error>().map_or_else(|| error.downcast_ref(), in_stream);
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

/// Whether an error says that the other side does not accept our certificate, which it says before it listens to anything
/// else.
#[must_use]
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::AlertReceived(alert) if our_certificate(*alert).is_some())
}

/// Whether an error of a stream is one of TLS rather than of the network below it.
#[must_use]
pub fn is_of_tls(error: &io::Error) -> bool {
    in_stream(error).is_some()
}

fn in_stream(error: &io::Error) -> Option<&Error> {
    let within = error.get_ref()?;
    within.downcast_ref().or_else(|| in_stream(within.downcast_ref()?))
}

fn its_certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago", span(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; do the clocks agree?".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from another authority".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = presented.iter().map(|name| plain(name)).collect::<Vec<_>>();
            format!("its certificate is of {}, not of {}", listed(&presented), expected.to_str())
        }
        CertificateError::NotValidForName => "its certificate is of another name".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for this use (extended key usage)".to_owned()
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

/// What the other side told us of our certificate before it hung up; `None` when it spoke of something else.
fn our_certificate(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as A;
    Some(match alert {
        A::CertificateRequired | A::NoCertificate => "it wants a certificate, and we have none",
        A::CertificateExpired => "it does not accept our certificate: expired",
        A::UnknownCA => "it does not accept our certificate: of another authority",
        A::CertificateRevoked => "it does not accept our certificate: revoked",
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown | A::AccessDenied => {
            "it does not accept our certificate: not valid there"
        }
        _ => return None,
    })
}

/// `DnsName("host1")` and `IpAddress(10.0.0.1)` as webpki writes them, as a person does.
pub(crate) fn plain(name: &str) -> String {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inside.trim_matches('"').to_owned()
}

/// Names in a sentence.
pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

/// A span of time in its largest unit, as `3 days`.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_told_in_its_largest_unit() {
        let cases =
            [(1, "1 second"), (119, "119 seconds"), (7_199, "119 minutes"), (7_200, "2 hours"), (172_800, "2 days")];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn plain_leaves_the_name_alone() {
        for (written, name) in [
            ("DnsName(\"host1\")", "host1"),
            ("IpAddress(10.0.0.1)", "10.0.0.1"),
            ("IpAddress(2001::db8)", "2001::db8"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(plain(written), name);
        }
    }

    #[test]
    fn explain_finds_tls_inside_a_stream() {
        let error = io::Error::other(Error::NoCertificatesPresented);
        assert!(is_of_tls(&error));
        assert_eq!(explain_io(&error), "it shows no certificate");
        let error = io::Error::other("cut");
        assert!(!is_of_tls(&error));
        assert_eq!(explain_io(&error), "cut");
        let error = io::Error::other(io::Error::other(Error::AlertReceived(AlertDescription::UnknownCA)));
        assert!(inside(&error).is_some_and(is_refusal));
    }
}
