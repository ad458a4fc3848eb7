//! etcd's API by hand: unary gRPC over one HTTP/2 connection, one request at a time. No more than a closed-loop client
//! needs, and less work for the machine than a general gRPC library would be: what is saved goes to etcd's credit.
//!
//! Replies are recognised by their DATA frame; a failure is a reply without one, so that no header ever needs decoding.

use std::io;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What either side may send before the other lets it go on (RFC 9113, §6.9.2).
const WINDOW: u32 = 65_535;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// One connection.
pub(crate) struct Etcd {
    connection: BufReader<TcpStream>,
    authority: String,
    /// Odd, rising: one stream a request.
    stream: u32,
    /// Bytes the server still takes on this connection.
    sendable: u32,
    /// Bytes we have taken since we last let the server go on.
    taken: u32,
    frame: Vec<u8>,
}

impl Etcd {
    /// Connects to a client port, `host:port`.
    pub(crate) async fn connect(endpoint: &str) -> io::Result<Self> {
        let connection = TcpStream::connect(endpoint).await?;
        connection.set_nodelay(true)?;
        let mut etcd = Self {
            connection: BufReader::new(connection),
            authority: endpoint.to_owned(),
            stream: 1,
            sendable: WINDOW,
            taken: 0,
            frame: Vec::new(),
        };
        etcd.connection.write_all(PREFACE).await?;
        etcd.send(SETTINGS, 0, 0, &[]).await?;
        Ok(etcd)
    }

    /// `KV/Put`.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let request = PutRequest { key: key.to_vec(), value: value.to_vec() };
        self.call("/etcdserverpb.KV/Put", &request.encode_to_vec()).await.map(drop)
    }

    /// `KV/Range` of one key, linearizable.
    pub(crate) async fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let reply = self.call("/etcdserverpb.KV/Range", &RangeRequest { key: key.to_vec() }.encode_to_vec()).await?;
        let reply = RangeResponse::decode(reply.as_slice()).map_err(io::Error::other)?;
        Ok(reply.kvs.into_iter().next().map(|found| found.value))
    }

    async fn call(&mut self, path: &str, message: &[u8]) -> io::Result<Vec<u8>> {
        let stream = self.stream;
        self.stream += 2;
        let mut body = vec![0];
        body.extend_from_slice(&length(message.len())?.to_be_bytes());
        body.extend_from_slice(message);
        let size = length(body.len())?;
        while self.sendable < size {
            let (kind, flags, of, payload) = self.receive().await?;
            self.serve(kind, flags, of, &payload).await?;
        }
        self.sendable -= size;
        let headers = headers_of(path, &self.authority);
        let mut frames = frame(HEADERS, END_HEADERS, stream, &headers)?;
        frames.extend_from_slice(&frame(DATA, END_STREAM, stream, &body)?);
        self.connection.write_all(&frames).await?;
        let mut reply = Vec::new();
        loop {
            let (kind, flags, of, payload) = self.receive().await?;
            match (kind, of == stream) {
                (DATA, true) => reply.extend_from_slice(&payload),
                (RST_STREAM, true) => return Err(io::Error::other("etcd reset the stream")),
                _ => {}
            }
            self.serve(kind, flags, of, &payload).await?;
            if of == stream && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                break;
            }
        }
        if reply.len() < 5 {
            return Err(io::Error::other("etcd refused the request"));
        }
        Ok(reply.split_off(5))
    }

    /// What the connection itself wants.
    async fn serve(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        match kind {
            DATA => {
                self.taken += length(payload.len())?;
                if self.taken > WINDOW / 2 {
                    let taken = std::mem::take(&mut self.taken);
                    self.send(WINDOW_UPDATE, 0, 0, &taken.to_be_bytes()).await?;
                }
            }
            WINDOW_UPDATE if stream == 0 => {
                let more: [u8; 4] = payload.try_into().map_err(io::Error::other)?;
                self.sendable += u32::from_be_bytes(more) & 0x7fff_ffff;
            }
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, payload).await?,
            GOAWAY => return Err(io::Error::other("etcd closes the connection")),
            _ => {}
        }
        Ok(())
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.connection.write_all(&frame(kind, flags, stream, payload)?).await
    }

    async fn receive(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.connection.read_exact(&mut head).await?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        self.frame.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
        self.connection.read_exact(&mut self.frame).await?;
        Ok((head[3], head[4], stream, self.frame.clone()))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(&length(payload.len())?.to_be_bytes()[1..]);
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// A request's header block: static names of HPACK (RFC 7541, appendix A), values as they are.
fn headers_of(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut push = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    };
    push(&[0x04], path);
    push(&[0x01], authority);
    push(&[0x0f, 0x10], "application/grpc");
    push(b"\x00\x02te", "trailers");
    block
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}
