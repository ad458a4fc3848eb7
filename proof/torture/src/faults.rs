//! Faults carried out and ended.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::Error;
use crate::links::{Link, Links, Way};
use crate::nodes::{Node, Reach};
use crate::plan::{Fault, Strike};

/// How often a flapping link is cut, or mended.
const FLAP: Duration = Duration::from_millis(150);
/// What files are limited to: more than what a node tells in its log, so that its last words are there.
const FILE_BYTES: u64 = 1 << 20;
/// How often a node is asked for its number.
const STATUS_TRIES: u32 = 20;

/// The nodes that are ours, and the links between them.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Links,
    pub(crate) reach: Reach,
    /// One more that joins for a while.
    pub(crate) spare: Option<Node>,
}

/// What a fault did, and what ends it.
pub(crate) struct Wound {
    /// In words, for people.
    pub(crate) what: String,
    /// Whom it met, by place.
    pub(crate) places: Vec<usize>,
    pub(crate) heal: Heal,
}

/// What ends it.
pub(crate) enum Heal {
    Nothing,
    Start(Vec<usize>),
    Continue(usize),
    Mend,
    MendFlapping(JoinSet<()>),
    Quicken(usize),
    Empty(usize),
    SetRight(usize),
    Lift(usize),
    Leave,
    Rejoin(usize),
}

impl Cluster {
    /// Whom a strike meets.
    async fn met(&self, strike: &Strike) -> usize {
        if strike.leader
            && let Some(leader) = self.leader().await
        {
            return leader;
        }
        self.place(strike.choice)
    }

    fn place(&self, choice: u64) -> usize {
        usize::try_from(choice % self.nodes.len() as u64).unwrap_or(0)
    }

    /// Who leads, by the word of whoever says so with the highest term.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        for (place, node) in self.nodes.iter().enumerate() {
            if let Some(status) = node.status().await
                && status.leads
                && leader.is_none_or(|(term, _)| status.term > term)
            {
                leader = Some((status.term, place));
            }
        }
        leader.map(|(_, place)| place)
    }

    /// The addresses clients are given.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.http.clone()).collect()
    }

    /// Begins a fault. `None` where it could not do anything just now.
    pub(crate) async fn begin(&mut self, strike: &Strike) -> Result<Option<Wound>, Error> {
        let place = self.met(strike).await;
        match strike.fault {
            Fault::Kill | Fault::KillAll | Fault::Pause => Ok(self.strike_process(strike.fault, place).await),
            Fault::Isolate | Fault::Mute | Fault::Deaf | Fault::Split | Fault::Flap | Fault::SlowLinks => {
                Ok(Some(self.strike_links(strike, place)))
            }
            Fault::FullDisk if !self.nodes[place].disk.is_own() => Ok(self.limit_files(place)),
            Fault::SlowDisk | Fault::FullDisk => self.strike_disk(strike, place).map(Some),
            Fault::WallClock => self.set_clock(strike, place).await,
            Fault::Drift => self.bend_clocks(strike, place).await,
            Fault::Transfer => self.hand_over().await,
            Fault::Replace => self.replace(place).await,
            Fault::Add => self.add().await,
            Fault::Remove => self.remove(place).await,
        }
    }

    async fn strike_process(&mut self, fault: Fault, place: usize) -> Option<Wound> {
        let label = self.nodes[place].label.clone();
        if fault == Fault::Pause {
            let heal = Heal::Continue(place);
            let stopped = self.nodes[place].signal(Signal::STOP);
            return stopped.then(|| Wound { what: format!("{label} stopped"), places: vec![place], heal });
        }
        let mut killed = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if (fault == Fault::KillAll || at == place) && node.kill().await {
                killed.push(at);
            }
        }
        let what = match killed.len() {
            0 => return None,
            1 => format!("{} killed", self.nodes[killed[0]].label),
            many => format!("{many} nodes killed at once"),
        };
        Some(Wound { what, places: killed.clone(), heal: Heal::Start(killed) })
    }

    fn strike_links(&self, strike: &Strike, place: usize) -> Wound {
        let label = &self.nodes[place].label;
        let all = 0..self.nodes.len();
        let others: Vec<usize> = all.clone().filter(|other| *other != place).collect();
        let from_it = others.iter().map(|other| (place, *other));
        let to_it = others.iter().map(|other| (*other, place));
        let (mut places, mut heal, mut link) = (vec![place], Heal::Mend, Link::Cut);
        let (what, ways): (String, Vec<Way>) = match strike.fault {
            Fault::Mute => (format!("{label} not heard"), from_it.collect()),
            Fault::Deaf => (format!("{label} hears nobody"), to_it.collect()),
            Fault::Split => {
                let other = others[usize::try_from(strike.choice / 64 % others.len() as u64).unwrap_or(0)];
                places.push(other);
                let what = format!("{label} and {} cut off from each other", self.nodes[other].label);
                (what, vec![(place, other), (other, place)])
            }
            Fault::SlowLinks => {
                let delay = Duration::from_millis(20 + strike.choice / 64 % 200);
                places = all.clone().collect();
                link = Link::Slow(delay);
                let ways = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
                (format!("all links {} ms slower", delay.as_millis()), ways.collect())
            }
            Fault::Flap => {
                let ways: Vec<Way> = from_it.chain(to_it).collect();
                let mut flapping = JoinSet::new();
                flapping.spawn(flap(self.links.clone(), ways.clone()));
                heal = Heal::MendFlapping(flapping);
                (format!("{label} cut off and back, again and again"), ways)
            }
            _ => (format!("{label} cut off"), from_it.chain(to_it).collect()),
        };
        self.links.set(ways.into_iter().map(|way| (way, link)));
        Wound { what, places, heal }
    }

    fn strike_disk(&self, strike: &Strike, place: usize) -> Result<Wound, Error> {
        let Node { label, disk, .. } = &self.nodes[place];
        let (what, heal) = if strike.fault == Fault::SlowDisk {
            let delay = Duration::from_millis(50 + strike.choice / 64 % 1_500);
            disk.delay(delay).map_err(Error::file(disk.trial()))?;
            (format!("{label}: fdatasync {} ms slower", delay.as_millis()), Heal::Quicken(place))
        } else {
            let left = strike.choice / 64 % 2 * (16 << 20);
            let taken = disk.fill(left).map_err(Error::file(disk.data()))?;
            (format!("{label}: disk full ({} MB taken, {left} bytes left)", taken >> 20), Heal::Empty(place))
        };
        Ok(Wound { what, places: vec![place], heal })
    }

    /// In the place of a full disk where none can be mounted: files that cannot grow. The log's, which is being written, and
    /// is larger mostly, cannot be written on.
    fn limit_files(&self, place: usize) -> Option<Wound> {
        let node = &self.nodes[place];
        let what = format!("{}: files cannot grow beyond {} KiB", node.label, FILE_BYTES >> 10);
        node.limit_files(Some(FILE_BYTES)).then(|| Wound { what, places: vec![place], heal: Heal::Lift(place) })
    }

    async fn hand_over(&self) -> Result<Option<Wound>, Error> {
        let asked = self.reach.client(&self.endpoints(), Duration::from_secs(2))?.transfer(None).await;
        // It may be refused: nobody leads just now, or nobody could take over.
        let Ok(members) = asked else { return Ok(None) };
        let led = |member: &&hezong_client::Member| Some(member.node_id) == members.leader;
        let to = members.members.iter().find(led).map_or("another", |member| member.id.as_str());
        let what = format!("leadership handed over to {to}");
        Ok(Some(Wound { what, places: Vec::new(), heal: Heal::Nothing }))
    }

    /// Ends a fault. False if it is known to have done nothing.
    pub(crate) async fn heal(&mut self, wound: Wound) -> Result<bool, Error> {
        match wound.heal {
            Heal::Nothing => {}
            Heal::Lift(place) => {
                let node = &mut self.nodes[place];
                node.limit_files(None);
                return Ok(node.has_ended());
            }
            Heal::Leave => self.leave().await?,
            Heal::Rejoin(place) => self.rejoin(place).await?,
            Heal::SetRight(place) => self.heal_clock(place)?,
            Heal::Start(places) => {
                for place in places {
                    self.nodes[place].start(&[])?;
                }
            }
            Heal::Continue(place) => drop(self.nodes[place].signal(Signal::CONT)),
            Heal::Mend => self.mend()?,
            Heal::MendFlapping(mut flapping) => {
                // Its last word comes before ours.
                flapping.shutdown().await;
                self.mend()?;
            }
            Heal::Quicken(place) => {
                let disk = &self.nodes[place].disk;
                disk.delay(Duration::ZERO).map_err(Error::file(disk.trial()))?;
            }
            Heal::Empty(place) => {
                let node = &mut self.nodes[place];
                node.disk.empty().map_err(Error::file(node.disk.data()))?;
            }
        }
        Ok(true)
    }

    fn mend(&self) -> Result<(), Error> {
        self.links.set([]);
        let failed = self.links.cables().and_then(|cables| cables.failure());
        failed.map_or(Ok(()), |error| Err(Error::Cables(error)))
    }

    /// Waits until the node at this place takes part, and learns which number it has. The spare one's place is the last.
    pub(crate) async fn settle(&mut self, place: usize) -> Result<(), Error> {
        let Some(node) = self.nodes.iter_mut().chain(&mut self.spare).nth(place) else { return Ok(()) };
        node.wait_ready().await?;
        for _ in 0..STATUS_TRIES {
            if let Some(status) = node.status().await {
                self.links.know(status.number, place);
                return Ok(());
            }
        }
        Err(node.failed(format!("it is ready, and does not tell how it stands in {STATUS_TRIES} tries")))
    }
}

/// Cuts links and mends them, until it is stopped.
async fn flap(links: Links, ways: Vec<Way>) {
    loop {
        links.set(ways.iter().map(|way| (*way, Link::Cut)));
        tokio::time::sleep(FLAP).await;
        links.set([]);
        tokio::time::sleep(FLAP).await;
    }
}

/// Whether two faults may come together: not two of the links, whose end mends all, and none with what wants all to be well.
pub(crate) fn go_together(one: Fault, other: Fault) -> bool {
    // No node starts with a certificate that its clock holds for expired.
    let dated = |one, other| one == Fault::WallClock && other == Fault::Kill;
    let alone = |fault: Fault| fault.is_of_members() || matches!(fault, Fault::KillAll | Fault::Transfer);
    !(one == other
        || dated(one, other)
        || dated(other, one)
        || alone(one)
        || alone(other)
        || (one.is_of_links() && other.is_of_links()))
}
