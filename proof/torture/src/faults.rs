//! Faults carried out and ended.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::Error;
use crate::links::{Link, Links};
use crate::nodes::{Node, client};
use crate::plan::{Fault, Strike};

/// How often a flapping link is cut, or mended.
const FLAP: Duration = Duration::from_millis(150);

/// The nodes that are ours, and the links between them.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Links,
}

/// What a fault did, and what ends it.
pub(crate) struct Wound {
    /// In words, for people.
    pub(crate) what: String,
    /// Whom it met, by place.
    pub(crate) places: Vec<usize>,
    heal: Heal,
}

enum Heal {
    Nothing,
    Start(Vec<usize>),
    Continue(usize),
    Mend,
    MendFlapping(JoinHandle<()>),
    Quicken(usize),
    Empty(usize),
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
        let label = self.nodes[place].label.clone();
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != place).collect();
        let one = |what: String, heal: Heal| Ok(Some(Wound { what, places: vec![place], heal }));
        match strike.fault {
            Fault::Kill => {
                if !self.nodes[place].kill().await {
                    return Ok(None);
                }
                one(format!("{label} killed"), Heal::Start(vec![place]))
            }
            Fault::KillAll => {
                let mut killed = Vec::new();
                for (place, node) in self.nodes.iter_mut().enumerate() {
                    if node.kill().await {
                        killed.push(place);
                    }
                }
                let (what, places) = (format!("{} nodes killed at once", killed.len()), killed.clone());
                Ok(Some(Wound { what, places, heal: Heal::Start(killed) }))
            }
            Fault::Pause => {
                if !self.nodes[place].signal(Signal::STOP) {
                    return Ok(None);
                }
                one(format!("{label} stopped"), Heal::Continue(place))
            }
            Fault::Isolate => {
                let away = others.iter().flat_map(|other| [(place, *other), (*other, place)]);
                self.links.set(away.map(|way| (way, Link::Cut)));
                one(format!("{label} cut off"), Heal::Mend)
            }
            Fault::Mute => {
                self.links.set(others.iter().map(|other| ((place, *other), Link::Cut)));
                one(format!("{label} not heard"), Heal::Mend)
            }
            Fault::Deaf => {
                self.links.set(others.iter().map(|other| ((*other, place), Link::Cut)));
                one(format!("{label} hears nobody"), Heal::Mend)
            }
            Fault::Split => {
                let other = others[usize::try_from(strike.choice / 64 % others.len() as u64).unwrap_or(0)];
                self.links.set([((place, other), Link::Cut), ((other, place), Link::Cut)]);
                let what = format!("{label} and {} cut off from each other", self.nodes[other].label);
                Ok(Some(Wound { what, places: vec![place, other], heal: Heal::Mend }))
            }
            Fault::Flap => {
                let links = self.links.clone();
                let away: Vec<_> = others.iter().flat_map(|other| [(place, *other), (*other, place)]).collect();
                let flapping = tokio::spawn(async move {
                    loop {
                        links.set(away.iter().map(|way| (*way, Link::Cut)));
                        tokio::time::sleep(FLAP).await;
                        links.set([]);
                        tokio::time::sleep(FLAP).await;
                    }
                });
                one(format!("{label} cut off and back, again and again"), Heal::MendFlapping(flapping))
            }
            Fault::SlowLinks => {
                let delay = Duration::from_millis(20 + strike.choice / 64 % 200);
                let all: Vec<usize> = (0..self.nodes.len()).collect();
                let ways = all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to)));
                self.links.set(ways.map(|way| (way, Link::Slow(delay))));
                let what = format!("all links {} ms slower", delay.as_millis());
                Ok(Some(Wound { what, places: all, heal: Heal::Mend }))
            }
            Fault::SlowDisk => {
                let delay = Duration::from_millis(50 + strike.choice / 64 % 1_500);
                let disk = &self.nodes[place].disk;
                disk.delay(delay).map_err(Error::file(disk.trial()))?;
                one(format!("{label}: fdatasync {} ms slower", delay.as_millis()), Heal::Quicken(place))
            }
            Fault::FullDisk => {
                let disk = &self.nodes[place].disk;
                let left = strike.choice / 64 % 2 * (16 << 20);
                let taken = disk.fill(left).map_err(Error::file(disk.data()))?;
                one(format!("{label}: disk full ({} MB taken, {left} bytes left)", taken >> 20), Heal::Empty(place))
            }
            Fault::Transfer => {
                let asked = client(&self.endpoints(), Duration::from_secs(2))?.transfer(None).await;
                let Ok(members) = asked else { return Ok(None) };
                let led = |member: &&hezong_client::Member| Some(member.node_id) == members.leader;
                let to = members.members.iter().find(led).map_or("another", |member| member.id.as_str());
                let what = format!("leadership handed over to {to}");
                Ok(Some(Wound { what, places: Vec::new(), heal: Heal::Nothing }))
            }
            Fault::Replace => {
                let join = others.iter().map(|other| self.nodes[*other].http.clone()).collect::<Vec<_>>().join(",");
                let node = &mut self.nodes[place];
                if !node.kill().await {
                    return Ok(None);
                }
                node.disk.lose().map_err(Error::file(node.disk.data()))?;
                node.start(&["--join", &join, "--replace"])?;
                node.wait_ready().await?;
                self.learn(place).await;
                one(format!("{label} lost its disk, and a new one took its place"), Heal::Nothing)
            }
        }
    }

    /// Ends a fault.
    pub(crate) async fn heal(&mut self, wound: Wound) -> Result<(), Error> {
        match wound.heal {
            Heal::Nothing => {}
            Heal::Start(places) => {
                for place in places {
                    self.nodes[place].start(&[])?;
                }
            }
            Heal::Continue(place) => drop(self.nodes[place].signal(Signal::CONT)),
            Heal::Mend => self.links.set([]),
            Heal::MendFlapping(flapping) => {
                flapping.abort();
                // Its last word comes before ours.
                flapping.await.ok();
                self.links.set([]);
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
        Ok(())
    }

    /// Learns which number the node at this place has.
    pub(crate) async fn learn(&self, place: usize) {
        if let Some(status) = self.nodes[place].status().await {
            self.links.know(status.number, place);
        }
    }
}

/// Whether two faults may come together: not two of the links, whose end mends all, and none with what wants all to be well.
pub(crate) fn go_together(one: Fault, other: Fault) -> bool {
    let of_links = |fault| {
        matches!(fault, Fault::Isolate | Fault::Mute | Fault::Deaf | Fault::Split | Fault::Flap | Fault::SlowLinks)
    };
    let alone = |fault| matches!(fault, Fault::Replace | Fault::KillAll | Fault::Transfer);
    !(one == other || alone(one) || alone(other) || (of_links(one) && of_links(other)))
}
