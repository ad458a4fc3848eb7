//! Sockets: connections accepted until told to stop, and those open then seen through.
//!
//! What a stranger may cost is bounded: so many connections, so many TLS handshakes at a time, and a time for each
//! handshake and each head of a request. Who is over a bound is told so as long as that costs nothing, and let go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hezong_shell::NodeTls;
use hezong_tls::explain_io;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::Failure;
use crate::seldom::Seldom;

/// How TLS begins.
const TLS_HANDSHAKE: u8 = 0x16;
/// How many of those turned away are told so at the same time; the others are hung up on.
const TURNED_AWAY_MAX: usize = 64;
/// How long, and how many bytes, we listen to one that was turned away: were the socket closed with something unread, it
/// would never read why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 << 10;
/// How long, once we stop, a connection may take over what is no request under way.
const FLUSH: Duration = Duration::from_secs(1);

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// What clients are shown, and what they must show; `None` serves in the clear. Default none.
    pub tls: Option<NodeTls>,
    /// The most connections at a time. Default 8,192.
    pub connections_max: usize,
    /// The most TLS handshakes at a time; others wait for their turn within `handshake_timeout`. Default 64.
    pub handshakes_max: usize,
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a connection may be without a whole head of a request, between two requests as well. Default 60 s.
    pub head_timeout: Duration,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            tls: None,
            connections_max: 8_192,
            handshakes_max: 64,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(60),
        }
    }
}

/// Serves until `stop` is ready, then lets requests under way finish. Clients that keep their connection open without a
/// request are let go at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    sockets: Sockets,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (stopping, told) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(sockets.connections_max));
    let server = Arc::new(Server {
        router: TowerToHyperService::new(router),
        handshakes: Semaphore::new(sockets.handshakes_max),
        turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
        seldom: Seldom::default(),
        sockets,
    });
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match Arc::clone(&connections).try_acquire_owned() {
                Ok(place) => {
                    tokio::spawn(Arc::clone(&server).connection(stream, address, told.clone(), place));
                }
                Err(_) => server.refuse(stream, address),
            },
            Err(error) => {
                // Out of file descriptors, or the client gave up: the next one may fare better.
                tracing::warn!("cannot accept a client's connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, told));
    // Every connection holds the other end until it is over.
    stopping.send_replace(true);
    stopping.closed().await;
}

/// What all connections share.
struct Server {
    router: TowerToHyperService<Router>,
    sockets: Sockets,
    handshakes: Semaphore,
    turned_away: Arc<Semaphore>,
    /// What is told of strangers.
    seldom: Seldom,
}

impl Server {
    /// Runs a connection to its end.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        mut told: watch::Receiver<bool>,
        _place: OwnedSemaphorePermit,
    ) {
        // Replies are small and written whole: waiting for more to send would only add to their latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection cannot be set to send at once");
        }
        let Some(tls) = &self.sockets.tls else { return self.requests(stream, &mut told).await };
        let accepted = tokio::select! {
            accepted = timeout(self.sockets.handshake_timeout, self.shake_hands(tls, stream, address)) => accepted,
            () = stopped(&mut told) => return,
        };
        match accepted {
            Ok(Some(stream)) => self.requests(stream, &mut told).await,
            // Whoever is to be told was told.
            Ok(None) => {}
            Err(_) => self.tell(address, "it took too long over the TLS handshake"),
        }
    }

    /// Encrypts a connection; `None` when it cannot be.
    async fn shake_hands(&self, tls: &NodeTls, stream: TcpStream, address: SocketAddr) -> Option<TlsStream<TcpStream>> {
        // Who says nothing takes nobody's turn.
        match first_byte(&stream).await {
            Ok(Some(TLS_HANDSHAKE)) => {}
            Ok(Some(_)) => {
                self.tell(address, "it does not speak TLS");
                let failure =
                    Failure::bad("tls_required", "this port speaks TLS: ask for https:// (curl --cacert ca.pem)");
                self.turn_away(stream, failure);
                return None;
            }
            Ok(None) | Err(_) => return None,
        }
        let turn = self.handshakes.acquire().await.expect("it is never closed");
        let accepted = TlsAcceptor::from(tls.to_serve()).accept(stream).into_fallible().await;
        drop(turn);
        match accepted {
            Ok(stream) => Some(stream),
            Err((error, stream)) => {
                self.tell(address, &explain_io(&error));
                linger(stream).await;
                None
            }
        }
    }

    /// Serves requests until there are no more.
    async fn requests<S>(&self, stream: S, told: &mut watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let busy = &AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.router.call(request.map(Body::new));
            async move {
                busy.store(true, Ordering::Relaxed);
                let answer = answer.await;
                busy.store(false, Ordering::Relaxed);
                answer
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.sockets.head_timeout);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let done = tokio::select! {
            done = connection.as_mut() => done,
            () = stopped(told) => {
                connection.as_mut().graceful_shutdown();
                loop {
                    match timeout(FLUSH, connection.as_mut()).await {
                        Ok(done) => break done,
                        Err(_) if busy.load(Ordering::Relaxed) => {}
                        // It has sent a part of a request, or does not read its reply.
                        Err(_) => return,
                    }
                }
            }
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    /// Turns one away that is over the limit.
    fn refuse(&self, stream: TcpStream, address: SocketAddr) {
        let limit = self.sockets.connections_max;
        self.tell(address, &format!("{limit} connections are open, which is the limit"));
        let message = format!("{limit} connections are open, which is the limit of this node; ask another, or later");
        // In TLS that would take a handshake.
        if self.sockets.tls.is_none() {
            self.turn_away(stream, Failure::unavailable("too_many_connections", message));
        }
    }

    /// Says why in the clear, and hangs up.
    fn turn_away(&self, mut stream: TcpStream, failure: Failure) {
        let Ok(place) = Arc::clone(&self.turned_away).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _place = place;
            if timeout(LINGER, stream.write_all(&failure.into_bytes())).await.is_ok_and(|written| written.is_ok()) {
                linger(stream).await;
            }
        });
    }

    /// Tells of a stranger, once a second at most.
    fn tell(&self, address: SocketAddr, reason: &str) {
        if self.seldom.now() {
            tracing::info!("closed a client's connection from {address}: {reason}");
        }
    }
}

/// Ready once connections are to end.
async fn stopped(told: &mut watch::Receiver<bool>) {
    // An error would mean the same: nobody is there any more who could tell.
    drop(told.wait_for(|stop| *stop).await);
}

/// The first byte that comes, left where it is; `None` when none does.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.peek(&mut byte).await? == 1).then_some(byte[0]))
}

/// Says that nothing more will come, and reads on for a moment.
async fn linger(mut stream: TcpStream) {
    let listen = async {
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        let mut bytes = 0;
        while bytes < LINGER_BYTES {
            match stream.read(&mut unread).await? {
                0 => break,
                count => bytes += count,
            }
        }
        io::Result::Ok(())
    };
    // However it ends, there is nothing more to say.
    drop(timeout(LINGER, listen).await);
}
