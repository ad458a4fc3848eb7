//! What is refused when certificates are read, and what becomes of those in use when new ones are put in their place.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hezong_tls::make::{Authority, MakeError, Pair, Validity};
use hezong_tls::{ClientTls, Clients, Files, NodeTls, TlsError};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// A folder with the files of node01, all in order.
struct Folder {
    root: TempDir,
    authority: Authority,
    files: Files,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let files = Files { certificate: path("node01.pem"), key: path("node01.key"), authority: path("ca.pem") };
        let authority = Authority::new(Validity::days(10)).unwrap();
        fs::write(&files.authority, authority.certificate()).unwrap();
        let folder = Self { root, authority, files };
        folder.put(&folder.node("node01"));
        folder
    }

    fn node(&self, label: &str) -> Pair {
        self.authority.node(label, &["127.0.0.1".to_owned()], Validity::days(1)).unwrap()
    }

    fn put(&self, pair: &Pair) {
        fs::write(&self.files.certificate, &pair.certificate).unwrap();
        fs::write(&self.files.key, pair.key.as_bytes()).unwrap();
    }

    fn load(&self) -> Result<NodeTls, TlsError> {
        NodeTls::load(self.files.clone(), "node01", Clients::Anyone)
    }

    /// What it is refused with, which must name the file.
    #[track_caller]
    fn refused(&self, file: &Path) -> TlsError {
        let error = self.load().unwrap_err();
        assert!(error.to_string().contains(&file.display().to_string()), "{error} does not name {}", file.display());
        error
    }
}

#[test]
fn load_takes_what_was_made_together() {
    let folder = Folder::new();
    let tls = folder.load().unwrap();
    let left = tls.valid_until().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > DAY - Duration::from_secs(60) && left <= DAY, "{left:?}");
    tls.check_label("node01").unwrap();
    assert!(matches!(tls.check_label("node02"), Err(TlsError::OtherName { .. })));
    assert!(!format!("{tls:?}").contains("BEGIN"));
}

#[test]
fn load_certificate_of_another_time_refused() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let of = |from, until| folder.authority.node("node01", &[], Validity { from, until }).unwrap();
    folder.put(&of(now - 30 * DAY, now - 3 * DAY));
    let error = folder.refused(&folder.files.certificate);
    assert!(matches!(error, TlsError::Expired { .. }) && error.to_string().contains("3 days ago"), "{error}");
    folder.put(&of(now + 3 * DAY, now + 30 * DAY));
    let error = folder.refused(&folder.files.certificate);
    assert!(matches!(error, TlsError::NotYetValid { .. }) && error.to_string().contains("clock"), "{error}");
}

#[test]
fn load_certificate_of_another_name_refused() {
    let folder = Folder::new();
    folder.put(&folder.node("node02"));
    let error = folder.refused(&folder.files.certificate);
    assert!(matches!(error, TlsError::OtherName { .. }), "{error}");
    for word in ["node02.hezong", "node01.hezong", "hezong cert node node01"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    folder.put(&folder.authority.client("node01", Validity::days(1)).unwrap());
    let error = folder.refused(&folder.files.certificate);
    assert!(matches!(error, TlsError::Purpose { .. }), "{error}");
}

#[test]
fn load_at_certificate_of_another_host_refused() {
    let folder = Folder::new();
    let load = |host: &str| NodeTls::load_at(folder.files.clone(), "node01", host, Clients::Anyone);
    let hosts = ["host1".to_owned(), "10.0.0.1".to_owned(), "2001:db8::1".to_owned()];
    folder.put(&folder.authority.node("node01", &hosts, Validity::days(1)).unwrap());
    for host in ["host1", "HOST1", "10.0.0.1", "2001:db8::1", "node01.hezong"] {
        load(host).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for host in ["host2", "10.0.0.2", "2001:db8::2"] {
        let error = load(host).unwrap_err().to_string();
        let remedy = format!("hezong cert node node01 --host {host}");
        for word in ["node01.pem is of node01.hezong, host1, 10.0.0.1, 2001", host, &remedy] {
            assert!(error.contains(word), "{word:?} is not in {error}");
        }
        assert!(!error.contains("IpAddress"), "{error}");
    }

    // What is put in its place later is held to the same.
    let tls = load("host1").unwrap();
    let first = tls.to_serve();
    folder.put(&folder.node("node01"));
    assert!(matches!(tls.reload().unwrap_err(), TlsError::OtherHost { .. }));
    assert!(Arc::ptr_eq(&first, &tls.to_serve()));
}

#[test]
fn load_certificate_of_another_authority_refused() {
    let folder = Folder::new();
    let other = Authority::new(Validity::days(10)).unwrap();
    folder.put(&other.node("node01", &[], Validity::days(1)).unwrap());
    let error = folder.refused(&folder.files.authority);
    assert!(matches!(error, TlsError::OtherAuthority { .. }), "{error}");
    // While one authority takes over from another, both are believed.
    let both = format!("{}{}", folder.authority.certificate(), other.certificate());
    fs::write(&folder.files.authority, both).unwrap();
    folder.load().unwrap();
}

#[test]
fn load_key_that_does_not_fit_refused() {
    let folder = Folder::new();
    fs::write(&folder.files.key, folder.node("node01").key.as_bytes()).unwrap();
    let error = folder.refused(&folder.files.key);
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
}

#[test]
fn load_files_missing_empty_or_damaged_refused() {
    let folder = Folder::new();
    let all = [&folder.files.certificate, &folder.files.key, &folder.files.authority];
    for file in all {
        let whole = fs::read_to_string(file).unwrap();
        fs::remove_file(file).unwrap();
        assert!(matches!(folder.refused(file), TlsError::Read { .. }));
        fs::write(file, "").unwrap();
        assert!(matches!(folder.refused(file), TlsError::Missing { .. }));
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
        let error = folder.refused(file);
        assert!(matches!(error, TlsError::Damaged { .. }), "{error}");
        // Nothing of what a key file holds may reach a log.
        let secret = whole.lines().nth(1).unwrap();
        assert!(!error.to_string().contains(&secret[..8]), "{error}");
        let flipped: String = whole.chars().map(|c| if c == 'A' { 'B' } else { c }).collect();
        fs::write(file, flipped).unwrap();
        folder.refused(file);
        fs::write(file, whole).unwrap();
    }
    folder.load().unwrap();
    // The two files mixed up.
    let Files { certificate, key, .. } = folder.files.clone();
    let mixed = Folder { files: Files { certificate: key, key: certificate, ..folder.files.clone() }, ..folder };
    assert!(matches!(mixed.refused(&mixed.files.certificate), TlsError::Missing { what: "certificate", .. }));
}

#[test]
fn load_label_that_is_no_host_name_refused() {
    let folder = Folder::new();
    let error = NodeTls::load(folder.files.clone(), "Node 1", Clients::Anyone).unwrap_err();
    assert!(matches!(error, TlsError::Label(_)), "{error}");
}

#[test]
fn refresh_takes_new_files_once_they_are_still() {
    let folder = Folder::new();
    let tls = folder.load().unwrap();
    let first = tls.to_accept();
    assert!(!tls.refresh().unwrap(), "nothing changed");

    // The certificate was replaced, and its key is still to come.
    let renewed = folder.node("node01");
    fs::write(&folder.files.certificate, &renewed.certificate).unwrap();
    assert!(!tls.refresh().unwrap());
    fs::write(&folder.files.key, renewed.key.as_bytes()).unwrap();
    assert!(!tls.refresh().unwrap());
    assert!(Arc::ptr_eq(&first, &tls.to_accept()));
    assert!(tls.refresh().unwrap());
    assert!(!Arc::ptr_eq(&first, &tls.to_accept()));
    assert!(!tls.refresh().unwrap(), "they are in use");
}

#[test]
fn refresh_broken_keeps_the_old_and_is_told_once() {
    let folder = Folder::new();
    let tls = folder.load().unwrap();
    let first = tls.to_accept();
    folder.put(&folder.node("node02"));
    assert!(!tls.refresh().unwrap());
    assert!(matches!(tls.refresh().unwrap_err(), TlsError::OtherName { .. }));
    assert!(!tls.refresh().unwrap(), "told once");
    assert!(!tls.refresh().unwrap());
    assert!(matches!(tls.reload().unwrap_err(), TlsError::OtherName { .. }), "who asks is told again");
    assert!(Arc::ptr_eq(&first, &tls.to_accept()));
    folder.put(&folder.node("node01"));
    tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.to_accept()));
}

#[test]
fn client_reads_what_it_is_given() {
    let folder = Folder::new();
    let Files { certificate, key, authority } = &folder.files;
    ClientTls::load(authority, None).unwrap();
    ClientTls::load(authority, Some((certificate, key))).unwrap();
    fs::write(key, folder.node("node01").key.as_bytes()).unwrap();
    let error = ClientTls::load(authority, Some((certificate, key))).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
}

#[test]
fn authority_reads_back_only_what_it_made() {
    let folder = Folder::new();
    let root = folder.root.path();
    let (certificate, key) = (root.join("ca.pem"), root.join("ca.key"));
    assert!(matches!(Authority::read(&certificate, &key), Err(MakeError::Read { .. })));
    fs::write(&key, folder.authority.key().as_bytes()).unwrap();
    let again = Authority::read(&certificate, &key).unwrap();
    folder.put(&again.node("node01", &[], Validity::days(1)).unwrap());
    folder.load().unwrap();
    // Another's key, and a certificate that is no authority's.
    fs::write(&key, Authority::new(Validity::days(1)).unwrap().key().as_bytes()).unwrap();
    assert!(matches!(Authority::read(&certificate, &key), Err(MakeError::Authority { .. })));
    let error = Authority::read(&folder.files.certificate, &folder.files.key);
    assert!(matches!(error, Err(MakeError::Authority { .. })));
}

#[test]
fn authority_signs_no_name_that_is_another_nodes() {
    let authority = Authority::new(Validity::days(1)).unwrap();
    let node = |label: &str, host: &str| authority.node(label, &[host.to_owned()], Validity::days(1)).err().unwrap();
    for host in ["node02.hezong", "NODE02.Hezong", "node02.hezong."] {
        assert!(matches!(node("node01", host), MakeError::HostIsNode(_)), "{host}");
    }
    for host in ["", "host1:8091", "a b", "http://host1"] {
        assert!(matches!(node("node01", host), MakeError::Host(_)), "{host}");
    }
    assert!(matches!(node("Node01", "host1"), MakeError::Label(_)));
    assert!(matches!(authority.client("a b", Validity::days(1)), Err(MakeError::Name(_))));
}
