//! Hezong's REST API by hand: one HTTP/1.1 connection, one request at a time, as lean as its neighbour in `etcd.rs`, so
//! that neither side pays for a client library that the other does without.

use std::io;

use hezong_client::ClientTls;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// What a connection is made of.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection, to the leader.
pub(crate) struct Rest {
    connection: BufReader<Box<dyn Stream>>,
    host: String,
    /// The request, then the reply's lines: kept so that neither is allocated anew.
    line: Vec<u8>,
}

impl Rest {
    /// Connects to a client port, `host:port`.
    pub(crate) async fn connect(endpoint: &str, tls: Option<&ClientTls>) -> io::Result<Self> {
        let connection = TcpStream::connect(endpoint).await?;
        connection.set_nodelay(true)?;
        let connection: Box<dyn Stream> = match tls {
            None => Box::new(connection),
            Some(tls) => {
                let host = endpoint.split(':').next().unwrap_or_default().to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                Box::new(TlsConnector::from(tls.config()).connect(name, connection).await?)
            }
        };
        Ok(Self { connection: BufReader::new(connection), host: endpoint.to_owned(), line: Vec::new() })
    }

    /// `PUT /key/{key}`. `key` needs no escaping.
    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        match self.call("PUT", key, "", value).await? {
            (200, _) => Ok(()),
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// `GET /key/{key}?raw` at the level `default`.
    pub(crate) async fn get(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        match self.call("GET", key, "?raw", &[]).await? {
            (200, value) => Ok(Some(value)),
            (404, _) => Ok(None),
            (status, body) => Err(refused(status, &body)),
        }
    }

    async fn call(&mut self, method: &str, key: &str, query: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let head = format!(
            "{method} /key/{key}{query} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.line.clear();
        self.line.extend_from_slice(head.as_bytes());
        self.line.extend_from_slice(body);
        self.connection.write_all(&self.line).await?;
        // What is encrypted may be held back until it is told to go.
        self.connection.flush().await?;
        // "HTTP/1.1 200 OK"
        let status = self.read_line().await?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the reply does not begin with a status"))?;
        let mut length = 0;
        loop {
            let line = self.read_line().await?;
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut reply = vec![0; length];
        self.connection.read_exact(&mut reply).await?;
        Ok((status, reply))
    }

    /// One line of the reply's head, without its end.
    async fn read_line(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.connection.read_until(b'\n', &mut self.line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        std::str::from_utf8(&self.line).map(str::trim_end).map_err(io::Error::other)
    }
}

fn refused(status: u16, body: &[u8]) -> io::Error {
    io::Error::other(format!("hezong answered {status}: {}", String::from_utf8_lossy(body)))
}
