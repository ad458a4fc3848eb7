//! Whom a client talks to by TLS, and whom it leaves: told by nodes with certificates of all kinds.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hezong_client::{Client, ClientTls, Error, Join, Level, Options, ReadAt, Token};
use hezong_tls::make::{Authority, Pair, Validity};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const DONE: &str = "HTTP/1.1 200 OK\r\nx-hezong-index: 7\r\nx-hezong-revision: 3\r\ncontent-length: 24\r\n\r\n{\"index\":7,\"revision\":3}";

/// An authority, and the files a client is given.
struct World {
    folder: TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new(Validity::days(1)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        Self { folder, authority }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn options(&self) -> Options {
        let tls = ClientTls::load(&self.folder.path().join("ca.pem"), None).unwrap();
        Options { timeout: Duration::from_secs(20), tls: Some(tls), ..Options::default() }
    }

    fn node(&self, host: &str) -> Pair {
        self.authority.node("node01", &[host.to_owned()], Validity::days(1)).unwrap()
    }

    /// How a node shows this pair, and whether it wants to see a client's.
    fn config(&self, pair: &Pair, certified: bool) -> Option<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate().as_bytes()).unwrap()).unwrap();
        let verifier = if certified {
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap()
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Some(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
    }
}

/// A node that answers everything with the same, by TLS or in the clear; and the heads of what it was asked.
async fn stub(config: Option<ServerConfig>, answer: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (acceptor, all) = (config.map(|config| TlsAcceptor::from(Arc::new(config))), heard.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, all, answer) = (acceptor.clone(), all.clone(), answer.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream, &all, &answer).await,
                    Some(acceptor) => match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => serve(stream, &all, &answer).await,
                        Err((_, mut stream)) => {
                            stream.shutdown().await.ok();
                            stream.read_to_end(&mut Vec::new()).await.ok();
                        }
                    },
                }
            });
        }
    });
    (address, heard)
}

async fn serve(mut stream: impl AsyncReadWrite, heard: &Mutex<Vec<String>>, answer: &str) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if !text.is_ascii() {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.ok();
                return;
            }
            continue;
        };
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.lines().next().unwrap().trim().parse::<usize>().unwrap());
        if body.len() >= length {
            heard.lock().unwrap().push(head.to_owned());
            bytes.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

trait AsyncReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncReadWrite for S {}

/// A put there must be refused, at once, with these words, and nothing be heard.
async fn refused(world: &World, config: Option<ServerConfig>, words: &str) {
    let (address, heard) = stub(config, DONE.to_owned()).await;
    let began = Instant::now();
    let error = Client::with_options([&address], world.options()).unwrap().put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(error.to_string().contains(words) && error.to_string().contains(&address), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "it does not get better by waiting");
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn put_by_tls_follows_redirects_by_tls_alone() {
    let world = World::new();
    let (leader, _) = stub(world.config(&world.node("127.0.0.1"), false), DONE.to_owned()).await;
    let redirect = |scheme: &str, to: &str| {
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {scheme}://{to}/key/foo\r\ncontent-length: 0\r\n\r\n")
    };
    let config = || world.config(&world.node("127.0.0.1"), false);
    let (follower, _) = stub(config(), redirect("https", &leader)).await;
    for endpoint in [follower.clone(), format!("https://{follower}")] {
        Client::with_options([&endpoint], world.options()).unwrap().put(b"foo", "bar").await.unwrap();
    }
    let (clear, heard) = stub(None, DONE.to_owned()).await;
    let (follower, _) = stub(config(), redirect("http", &clear)).await;
    let options = Options { timeout: Duration::from_secs(1), ..world.options() };
    let client = Client::with_options([&follower], options).unwrap();
    // Again where the end of the call cut its last attempt short, which then says nothing else.
    let mut said = String::new();
    for _ in 0..20 {
        said = client.put(b"foo", "bar").await.unwrap_err().to_string();
        if !said.contains("did not answer within") {
            break;
        }
    }
    assert!(said.contains("in the clear"), "{said}");
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn node_of_another_authority_refused() {
    let world = World::new();
    let other = World::new();
    refused(&world, other.config(&other.node("127.0.0.1"), false), "its certificate is from another authority").await;
}

#[tokio::test]
async fn node_of_another_host_refused() {
    let world = World::new();
    let config = world.config(&world.node("elsewhere.example"), false);
    refused(&world, config, "its certificate is of node01.hezong, elsewhere.example, not of 127.0.0.1").await;
}

#[tokio::test]
async fn node_with_an_expired_certificate_refused() {
    let world = World::new();
    let day = Duration::from_secs(86_400);
    let validity = Validity { from: SystemTime::now() - 9 * day, until: SystemTime::now() - 4 * day };
    let pair = world.authority.node("node01", &["127.0.0.1".to_owned()], validity).unwrap();
    refused(&world, world.config(&pair, false), "its certificate expired 4 days ago").await;
}

#[tokio::test]
async fn node_in_the_clear_refused() {
    refused(&World::new(), None, "it does not speak TLS").await;
}

#[tokio::test]
async fn certificate_asked_for_is_shown_or_named_as_missing() {
    let world = World::new();
    let config = || world.config(&world.node("127.0.0.1"), true);
    refused(&world, config(), "it wants a certificate, and we have none").await;
    let pair = world.authority.client("ann", Validity::days(1)).unwrap();
    let own = (world.write("ann.pem", &pair.certificate), world.write("ann.key", &pair.key));
    let tls = ClientTls::load(&world.folder.path().join("ca.pem"), Some((&own.0, &own.1))).unwrap();
    let (address, _) = stub(config(), DONE.to_owned()).await;
    let options = Options { tls: Some(tls), ..world.options() };
    Client::with_options([&address], options).unwrap().put(b"foo", "bar").await.unwrap();
}

#[tokio::test]
async fn node_that_cannot_be_trusted_is_left_for_one_that_can() {
    let world = World::new();
    let other = World::new();
    let (bad, _) = stub(other.config(&other.node("127.0.0.1"), false), DONE.to_owned()).await;
    let (good, _) = stub(world.config(&world.node("127.0.0.1"), false), DONE.to_owned()).await;
    Client::with_options([&bad, &good], world.options()).unwrap().put(b"foo", "bar").await.unwrap();
}

#[tokio::test]
async fn token_is_sent_with_changes_of_members_and_for_backups_alone() {
    let world = World::new();
    let members = r#"{"clusterId":"c","leader":2,"members":[{"nodeId":2,"id":"node02","httpAddr":"h:1","raftAddr":"h:2","suffrage":"voter","leader":true}]}"#;
    let length = members.len();
    let answer = format!("HTTP/1.1 200 OK\r\nx-hezong-index: 7\r\ncontent-length: {length}\r\n\r\n{members}");
    let (address, heard) = stub(world.config(&world.node("127.0.0.1"), false), answer).await;
    let token = Token::new("correct-horse-battery").unwrap();
    let options = Options { token: Some(token), ..world.options() };
    assert!(!format!("{options:?}").contains("horse"));
    let client = Client::with_options([&address], options).unwrap();
    assert!(!format!("{client:?}").contains("horse"));
    let join = Join {
        id: "node02".to_owned(),
        http_addr: "h:1".to_owned(),
        raft_addr: "h:2".to_owned(),
        cluster_id: None,
        replace: false,
        version: 1,
    };
    // What comes back is not understood, and was sent all the same.
    client.join(&join).await.unwrap_err();
    client.remove("node02").await.unwrap();
    client.transfer(Some("node02")).await.unwrap();
    client.transfer(None).await.unwrap();
    client.backup(ReadAt { level: Level::Default, min_index: None }).await.unwrap();
    client.put(b"foo", "bar").await.unwrap();
    client.get(b"foo", Level::Default).await.unwrap();
    client.members().await.unwrap();
    let with = |head: &String| head.contains("authorization: Bearer correct-horse-battery");
    let heard = heard.lock().unwrap();
    let paths: Vec<_> = heard.iter().filter(|head| with(head)).map(|head| head.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/join", "/remove", "/transfer", "/transfer", "/backup?"]);
    assert_eq!(heard.len(), 9);
}

#[test]
fn addresses_and_tokens_that_do_not_fit_are_refused() {
    let world = World::new();
    let refused = |endpoint: &str, options: Options| Client::with_options([endpoint], options).unwrap_err().to_string();
    assert!(refused("http://127.0.0.1:1", world.options()).contains("in the clear"));
    assert!(refused("https://127.0.0.1:1", Options::default()).contains("--tls-ca"));
    assert!(refused("ftp://127.0.0.1:1", Options::default()).contains("neither"));
    for bad in ["", "two words", "line\nend", "bell\u{7}"] {
        let error = Token::new(bad).unwrap_err();
        assert_eq!(error, Error::Token);
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
}
