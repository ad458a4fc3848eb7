//! What sockets bound: connections, handshakes, the time without a request; and how they end.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hezong_http::{Sockets, serve};
use hezong_shell::{Clients, Files, NodeTls};
use hezong_tls::ClientTls;
use hezong_tls::make::{Authority, Validity};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server of one route, and what stops it.
struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(sockets: Sockets) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let slowly = || async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            "done"
        };
        let router = Router::new().route("/", get(|| async { "here" })).route("/slow", get(slowly));
        let (stop, told) = oneshot::channel();
        let served = tokio::spawn(serve(listener, router, sockets, async { drop(told.await) }));
        Self { address, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    async fn stop(self) {
        drop(self.stop);
        timeout(PATIENCE, self.served).await.expect("it stops").unwrap();
    }
}

/// Sends a request and returns what comes until `until` is seen or the connection ends.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str, until: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    hear(stream, until).await
}

async fn hear(stream: &mut (impl AsyncRead + Unpin), until: &str) -> String {
    let mut bytes = Vec::new();
    let whole = async {
        while !String::from_utf8_lossy(&bytes).contains(until) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    timeout(PATIENCE, whole).await.expect("it answers or hangs up");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A node's certificate, and a client that believes it.
fn certificates(clients: Clients) -> (TempDir, NodeTls, ClientTls) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = Files { certificate: path("node.pem"), key: path("node.key"), authority: path("ca.pem") };
    let authority = Authority::new(Validity::days(1)).unwrap();
    let pair = authority.node("node01", &["127.0.0.1".to_owned()], Validity::days(1)).unwrap();
    std::fs::write(&files.authority, authority.certificate()).unwrap();
    std::fs::write(&files.certificate, &pair.certificate).unwrap();
    std::fs::write(&files.key, pair.key.as_bytes()).unwrap();
    let client = ClientTls::load(&files.authority, None).unwrap();
    (folder, NodeTls::load(files, "node01", clients).unwrap(), client)
}

fn sockets(tls: NodeTls) -> Sockets {
    Sockets { tls: Some(tls), ..Sockets::default() }
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let server = Server::start(Sockets { connections_max: 2, ..Sockets::default() }).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert!(ask(&mut one, "/", "here").await.starts_with("HTTP/1.1 200"));
    assert!(ask(&mut two, "/", "here").await.starts_with("HTTP/1.1 200"));
    let mut three = server.connect().await;
    let said = ask(&mut three, "/", "never").await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("too_many_connections"), "{said}");
    // A place that is given up is free.
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = ask(&mut server.connect().await, "/", "\r\n\r\n").await;
        if said.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < deadline, "{said}");
    }
    server.stop().await;
}

#[tokio::test]
async fn connection_without_a_whole_head_is_hung_up_on() {
    let server = Server::start(Sockets { head_timeout: Duration::from_millis(200), ..Sockets::default() }).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let began = Instant::now();
    let said = hear(&mut slow, "never").await;
    assert!(!said.contains("here") && began.elapsed() >= Duration::from_millis(150), "{said}");
    // One that asks in time may take its time over the answer.
    assert!(ask(&mut server.connect().await, "/slow", "done").await.contains("done"));
    server.stop().await;
}

#[tokio::test]
async fn stop_lets_go_of_the_idle_and_sees_requests_through() {
    let (_folder, tls, client) = certificates(Clients::Anyone);
    for tls in [None, Some(tls)] {
        let encrypted = tls.is_some();
        let server = Server::start(Sockets { tls, ..Sockets::default() }).await;
        let _silent = server.connect().await;
        let mut begun = server.connect().await;
        begun.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut idle = server.connect().await;
        // Longer than one that asks nothing is given.
        let stream = server.connect().await;
        let busy = if encrypted {
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let mut stream = TlsConnector::from(client.config()).connect(name, stream).await.unwrap();
            tokio::spawn(async move { ask(&mut stream, "/slow", "done").await })
        } else {
            assert!(ask(&mut idle, "/", "here").await.contains("here"));
            let mut stream = stream;
            tokio::spawn(async move { ask(&mut stream, "/slow", "done").await })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        server.stop().await;
        assert!(began.elapsed() < Duration::from_secs(5), "nobody waits for those who ask nothing");
        assert!(busy.await.unwrap().contains("done"));
    }
}

#[tokio::test]
async fn plain_request_to_an_encrypted_port_is_told_so() {
    let (_folder, tls, _) = certificates(Clients::Anyone);
    let server = Server::start(sockets(tls)).await;
    let said = ask(&mut server.connect().await, "/", "never").await;
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("tls_required") && said.contains("https://"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn handshakes_that_drag_on_hold_up_nobody() {
    let (_folder, tls, client) = certificates(Clients::Anyone);
    // Whoever is quick must make it, on a slow machine too.
    let handshake_timeout = Duration::from_secs(3);
    let server = Server::start(Sockets { handshakes_max: 1, handshake_timeout, ..sockets(tls) }).await;
    // Silent ones take no turn; one that has begun takes it until its time is over.
    let mut silent = server.connect().await;
    let mut begun = server.connect().await;
    begun.write_all(&[0x16, 3, 1, 0x3f, 0xff, 1]).await.unwrap();
    assert!(!hear(&mut begun, "never").await.contains("here"));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connected = TlsConnector::from(client.config()).connect(name, server.connect().await);
    let mut stream = timeout(PATIENCE, connected).await.unwrap().unwrap();
    assert!(ask(&mut stream, "/", "here").await.contains("here"));
    assert_eq!(hear(&mut silent, "never").await, "");
    server.stop().await;
}

#[tokio::test]
async fn client_without_a_certificate_is_not_heard_where_one_is_asked_for() {
    let (_folder, tls, client) = certificates(Clients::Certified);
    let server = Server::start(sockets(tls)).await;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(client.config()).connect(name, server.connect().await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ok();
    let error = stream.read(&mut [0; 100]).await.unwrap_err();
    assert_eq!(hezong_tls::explain_io(&error), "it wants a certificate, and we have none");
    server.stop().await;
}
