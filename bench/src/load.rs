//! Clients that put in a closed loop, the same for whoever serves them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hezong_client::{Client, ClientTls, Level, Options};

use crate::Outcome;
use crate::etcd::Etcd;
use crate::rest::Rest;

/// Whom the load goes to.
#[derive(Clone)]
pub(crate) enum Target {
    /// Ours: the client finds the leader, again and again if need be.
    Hezong(Client),
    /// The client port of our leader, over a bare connection, which may be encrypted.
    Leader(String, Option<ClientTls>),
    /// The client port of etcd's leader.
    Etcd(String),
}

/// What the load is.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) puts: u64,
    pub(crate) keys: u64,
    pub(crate) value_size: usize,
    /// The number of the first put: rounds go on where the last one ended.
    pub(crate) first: u64,
}

/// Clients at work while something happens to the nodes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Meanwhile {
    /// Clients at work meanwhile.
    #[arg(id = "clients", long = "clients", default_value_t = 16)]
    pub(crate) count: usize,
    /// Where the temporary folder is made.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}

impl Meanwhile {
    /// Of each client between two puts: load enough to be under way at any moment, not so much that it drowns what is
    /// measured.
    pub(crate) const PAUSE: Duration = Duration::from_millis(2);

    /// How they call: a node that is silent is left soon, and nothing fails before its time.
    pub(crate) fn client() -> Options {
        Options {
            timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_millis(300),
            backoff_max: Duration::from_millis(100),
            ..Options::default()
        }
    }
}

/// What came of it.
pub(crate) struct Took {
    pub(crate) whole: Duration,
    /// Of each put, rising.
    pub(crate) latencies: Vec<Duration>,
}

impl Took {
    /// Puts a second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let puts = self.latencies.len() as f64;
        puts / self.whole.as_secs_f64()
    }

    /// The smallest latency that covers this part of all puts.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        quantile(&self.latencies, part)
    }
}

/// The smallest of these, sorted, that covers this part of them; zero of none.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// One client's connection.
enum Connection {
    Hezong(Client),
    Leader(Box<Rest>),
    Etcd(Box<Etcd>),
}

impl Connection {
    async fn new(target: &Target) -> Outcome<Self> {
        Ok(match target {
            Target::Hezong(client) => Self::Hezong(client.clone()),
            Target::Leader(endpoint, tls) => Self::Leader(Box::new(Rest::connect(endpoint, tls.as_ref()).await?)),
            Target::Etcd(endpoint) => Self::Etcd(Box::new(Etcd::connect(endpoint).await?)),
        })
    }

    async fn put(&mut self, key: &str, value: Vec<u8>) -> Outcome<()> {
        match self {
            Self::Hezong(client) => client.put(key.as_bytes(), value).await.map(drop).map_err(Into::into),
            Self::Leader(leader) => leader.put(key, &value).await.map_err(Into::into),
            Self::Etcd(etcd) => etcd.put(key.as_bytes(), &value).await.map_err(Into::into),
        }
    }

    async fn get(&mut self, key: &str) -> Outcome<Option<Vec<u8>>> {
        match self {
            Self::Hezong(client) => {
                Ok(client.get(key.as_bytes(), Level::Default).await?.map(|found| found.value.to_vec()))
            }
            Self::Leader(leader) => Ok(leader.get(key).await?),
            Self::Etcd(etcd) => Ok(etcd.get(key.as_bytes()).await?),
        }
    }
}

/// Lets all clients put. Any failure ends it: a put that failed would make the rest incomparable.
pub(crate) async fn run(target: &Target, load: Load) -> Outcome<Took> {
    let next = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::new();
    for _ in 0..load.clients {
        connections.push(Connection::new(target).await?);
    }
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for mut connection in connections {
        let next = next.clone();
        clients.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.puts {
                    return Ok::<_, crate::Failure>(latencies);
                }
                let number = load.first + number;
                let (key, value) = (name_of(key_of(number, load.keys)), value_of(number, load.value_size));
                let sent = Instant::now();
                connection.put(&key, value).await?;
                latencies.push(sent.elapsed());
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(one) = clients.join_next().await {
        latencies.extend(one??);
    }
    let whole = began.elapsed();
    latencies.sort_unstable();
    Ok(Took { whole, latencies })
}

/// Reads every key back that this load put, and checks that its last value is there. Returns how many.
pub(crate) async fn verify(target: &Target, load: Load) -> Outcome<u64> {
    // Puts of one key never overlap: a whole round over the keys lies between them, and no client lags that far.
    let mut last = std::collections::BTreeMap::new();
    for number in load.first..load.first + load.puts {
        last.insert(key_of(number, load.keys), number);
    }
    let last: Arc<Vec<(u64, u64)>> = Arc::new(last.into_iter().collect());
    let next = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (last, next) = (last.clone(), next.clone());
        let mut connection = Connection::new(target).await?;
        readers.spawn(async move {
            loop {
                let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
                let Some((key, number)) = last.get(at) else { return Ok::<_, crate::Failure>(()) };
                let found = connection.get(&name_of(*key)).await?;
                if found != Some(value_of(*number, load.value_size)) {
                    return Err(format!("key {} lost put {number}, which was acknowledged", name_of(*key)).into());
                }
            }
        });
    }
    while let Some(one) = readers.join_next().await {
        one??;
    }
    Ok(last.len() as u64)
}

/// Spreads puts over the keys, and meets each once before any twice: the factor is a prime larger than any `keys`.
pub(crate) fn key_of(number: u64, keys: u64) -> u64 {
    u64::try_from(u128::from(number) * 2_654_435_761 % u128::from(keys)).expect("below keys")
}

/// A key's name: 18 bytes.
pub(crate) fn name_of(key: u64) -> String {
    format!("bench/{key:012}")
}

/// A value that names its put.
pub(crate) fn value_of(number: u64, size: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(size, b'.');
    value
}
