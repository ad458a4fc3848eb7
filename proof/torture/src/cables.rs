//! Nodes in network namespaces of their own, each with two cables: one to the other nodes, one to the clients.
//!
//! A cable that is pulled out does what no proxy can: packets vanish, nobody is told, and no connection can be opened. The
//! clients' cable stays in, so that they go on asking a leader whom nobody else hears.
//!
//! It takes root and `ip`. Names hold our process's number, by which what an earlier run left behind is known, and removed.
//! Addresses are of the network that is set aside for trials (RFC 2544).

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

/// Where `ip` is.
const PROGRAMS: [&str; 4] = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
/// What names of ours begin with.
const PREFIX: &str = "hz";

/// The cables of a cluster.
pub(crate) struct Cables {
    ip: &'static str,
    name: String,
    /// The third byte of all addresses.
    net: u8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was made, each by what deletes it, in order.
    made: Vec<String>,
    /// Whose cable is pulled out, and how many packets had come through it by then.
    pulled: Option<(usize, u64)>,
    /// How many packets nodes sent into cables that were pulled out.
    lost: u64,
    /// The first thing that went wrong.
    failed: Option<io::Error>,
}

impl Cables {
    /// The switches: two bridges, of which we are on the clients'.
    pub(crate) fn new() -> io::Result<Self> {
        let found = PROGRAMS.into_iter().find(|path| Path::new(path).exists());
        let ip = found.ok_or_else(|| io::Error::other("there is no ip; Debian's package iproute2 has it"))?;
        sweep(ip)?;
        let taken = run(ip, "-oneline -4 address show")?;
        let first = std::process::id().to_le_bytes()[0];
        let is_free = |net: &u8| !taken.contains(&format!("198.19.{net}."));
        let net = (0..=u8::MAX).map(|step| first.wrapping_add(step)).find(is_free);
        let net = net.ok_or_else(|| io::Error::other("all networks 198.19.0.0 to 198.19.255.0 are taken"))?;
        let cables = Self { ip, name: format!("{PREFIX}{}", std::process::id()), net, state: Mutex::default() };
        let name = &cables.name;
        for side in ["p", "c"] {
            cables.ip(&format!("link add {name}{side} type bridge"))?;
            cables.lock().made.push(format!("link delete {name}{side}"));
            cables.ip(&format!("link set {name}{side} up"))?;
        }
        cables.ip(&format!("address add 198.19.{net}.254/24 dev {name}c"))?;
        Ok(cables)
    }

    /// Makes the namespace of the node at this place, and plugs it in.
    pub(crate) fn plug_in(&self, place: usize) -> io::Result<()> {
        let (name, namespace) = (&self.name, self.namespace(place));
        self.ip(&format!("netns add {namespace}"))?;
        // Its ends of the cables go with it, and theirs with them.
        self.lock().made.push(format!("netns delete {namespace}"));
        for (side, host) in ["p", "c"].into_iter().zip(self.hosts(place)) {
            let port = format!("{name}{side}{place}");
            self.ip(&format!("link add {port} type veth peer name {side}0 netns {namespace}"))?;
            self.ip(&format!("link set {port} master {name}{side} up"))?;
            // Nothing is sent but what the node sends, or a packet that is lost would say nothing of it.
            self.ip(&format!("-n {namespace} link set {side}0 addrgenmode none"))?;
            self.ip(&format!("-n {namespace} address add {host}/24 dev {side}0"))?;
            self.ip(&format!("-n {namespace} link set {side}0 up"))?;
        }
        self.ip(&format!("-n {namespace} link set lo up"))
    }

    /// Where the node at this place is for other nodes, and where for clients.
    pub(crate) fn hosts(&self, place: usize) -> [String; 2] {
        [18, 19].map(|second| format!("198.{second}.{}.{}", self.net, place + 1))
    }

    /// What runs a program in the namespace of this place: put before it.
    pub(crate) fn inside(&self, place: usize) -> [String; 4] {
        [self.ip.to_owned(), "netns".to_owned(), "exec".to_owned(), self.namespace(place)]
    }

    /// From now on the cable between this node and the others is out, and all others are in. Everybody waits for the few
    /// milliseconds that takes.
    pub(crate) fn pull(&self, place: Option<usize>) {
        let mut state = self.lock();
        if state.pulled.map(|(place, _)| place) == place {
            return;
        }
        if let Err(error) = self.exchange(&mut state, place) {
            state.failed.get_or_insert(error);
        }
    }

    fn exchange(&self, state: &mut State, place: Option<usize>) -> io::Result<()> {
        if let Some((place, before)) = state.pulled {
            let lost = self.sent(place)?.saturating_sub(before);
            self.ip(&format!("link set {0}p{place} master {0}p", self.name))?;
            state.lost += lost;
            state.pulled = None;
        }
        if let Some(place) = place {
            let before = self.sent(place)?;
            state.pulled = Some((place, before));
            self.ip(&format!("link set {}p{place} nomaster", self.name))?;
            state.pulled = Some((place, self.sent(place)?));
        }
        Ok(())
    }

    /// How many packets the node at this place has sent to the others, or into nothing.
    fn sent(&self, place: usize) -> io::Result<u64> {
        let told = fs::read_to_string(format!("/sys/class/net/{}p{place}/statistics/rx_packets", self.name))?;
        told.trim().parse().map_err(io::Error::other)
    }

    /// How many packets were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// What went wrong, if anything did; once.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.lock().failed.take()
    }

    fn namespace(&self, place: usize) -> String {
        format!("{}-{place}", self.name)
    }

    fn ip(&self, words: &str) -> io::Result<()> {
        run(self.ip, words).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cables {
    /// What cannot be removed the next run removes.
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.lock().made);
        for words in made.iter().rev() {
            self.ip(words).ok();
        }
    }
}

/// Removes what runs left behind that were ended before they could.
fn sweep(ip: &str) -> io::Result<()> {
    let is_left = |name: &&str| {
        let number = name.strip_prefix(PREFIX).and_then(|rest| rest.split(['-', 'p', 'c']).next());
        let is_over = |number: u32| number == std::process::id() || !Path::new(&format!("/proc/{number}")).exists();
        number.and_then(|number| number.parse().ok()).is_some_and(is_over)
    };
    let namespaces = run(ip, "netns list")?;
    for name in namespaces.lines().filter_map(|line| line.split(' ').next()).filter(is_left) {
        // A node that was stopped has not noticed that its run is over. Err: another run sweeps too, and was quicker.
        let nodes = run(ip, &format!("netns pids {name}")).unwrap_or_default();
        for node in nodes.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
            kill_process(node, Signal::KILL).ok();
        }
        run(ip, &format!("netns delete {name}")).ok();
    }
    let bridges = run(ip, "-oneline link show type bridge")?;
    for name in bridges.lines().filter_map(|line| line.split(": ").nth(1)).filter(is_left) {
        run(ip, &format!("link delete {name}")).ok();
    }
    Ok(())
}

fn run(ip: &str, words: &str) -> io::Result<String> {
    let output = Command::new(ip).args(words.split(' ')).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}
