//! Faults of who takes part: a member loses its disk and is replaced, one more joins and leaves, one leaves and joins again.

use std::time::{Duration, Instant};

use crate::Error;
use crate::faults::{Cluster, Heal, Wound};

/// How long a change of members may take, and how often it is looked whether it is done.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

impl Cluster {
    /// Waits until every node is there and votes: only then does a majority hold everything without any one of them.
    pub(crate) async fn all_vote(&mut self) -> Result<(), Error> {
        for node in &mut self.nodes {
            node.wait_ready().await?;
        }
        for place in 0..self.nodes.len() {
            self.votes(&self.nodes[place].label.clone()).await?;
        }
        Ok(())
    }

    /// Waits until the member of this label votes, and no one else shares the label.
    async fn votes(&self, label: &str) -> Result<(), Error> {
        let (asked, deadline) = (self.reach.client(&self.endpoints(), PATIENCE)?, Instant::now() + PATIENCE);
        loop {
            let members = asked.members().await?.members;
            let mut found = members.iter().filter(|member| member.id == label);
            if found.next().is_some_and(|member| member.suffrage == "voter") && found.next().is_none() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let all = members.iter().map(|member| format!("{} {}", member.id, member.suffrage));
                let all = all.collect::<Vec<_>>().join(", ");
                return Err(Error::Members(format!("{label} does not vote after {} s: {all}", PATIENCE.as_secs())));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A node is killed and its disk lost; a new one of its label takes its place.
    pub(crate) async fn replace(&mut self, place: usize) -> Result<Option<Wound>, Error> {
        let endpoints = self.others(place);
        let node = &mut self.nodes[place];
        if !node.kill().await {
            return Ok(None);
        }
        node.disk.lose().map_err(Error::file(node.disk.data()))?;
        node.start(&["--join", &endpoints.join(","), "--replace"])?;
        let what = format!("{} lost its disk, and a new one took its place", node.label);
        self.settle(place).await?;
        Ok(Some(Wound { what, places: vec![place], heal: Heal::Nothing }))
    }

    /// One node more joins, and votes.
    pub(crate) async fn add(&mut self) -> Result<Option<Wound>, Error> {
        let endpoints = self.endpoints();
        let Some(spare) = &mut self.spare else { return Ok(None) };
        spare.start(&["--join", &endpoints.join(",")])?;
        let label = spare.label.clone();
        self.settle(self.nodes.len()).await?;
        self.votes(&label).await?;
        Ok(Some(Wound { what: format!("{label} joined, and votes"), places: Vec::new(), heal: Heal::Leave }))
    }

    /// It leaves again, and takes its disk with it.
    pub(crate) async fn leave(&mut self) -> Result<(), Error> {
        let Some(label) = self.spare.as_ref().map(|spare| spare.label.clone()) else { return Ok(()) };
        self.let_go(&label, self.endpoints()).await?;
        let Some(spare) = &mut self.spare else { return Ok(()) };
        if let Some(reason) = spare.ended() {
            return Err(spare.failed(reason));
        }
        spare.kill().await;
        spare.disk.lose().map_err(Error::file(spare.disk.data()))
    }

    /// A member leaves, and knows that it does.
    pub(crate) async fn remove(&mut self, place: usize) -> Result<Option<Wound>, Error> {
        let label = self.nodes[place].label.clone();
        self.let_go(&label, self.others(place)).await?;
        Ok(Some(Wound { what: format!("{label} was let go"), places: vec![place], heal: Heal::Rejoin(place) }))
    }

    /// It comes back as another, with nothing.
    pub(crate) async fn rejoin(&mut self, place: usize) -> Result<(), Error> {
        let endpoints = self.others(place);
        let node = &mut self.nodes[place];
        if let Some(reason) = node.ended() {
            return Err(node.failed(reason));
        }
        node.kill().await;
        node.disk.lose().map_err(Error::file(node.disk.data()))?;
        node.start(&["--join", &endpoints.join(",")])?;
        self.settle(place).await?;
        self.votes(&self.nodes[place].label.clone()).await
    }

    /// Has the cluster let a member go, and asks until it has: the one that leads may be the one that goes.
    async fn let_go(&self, label: &str, endpoints: Vec<String>) -> Result<(), Error> {
        let (asked, deadline) = (self.reach.client(&endpoints, PATIENCE)?, Instant::now() + PATIENCE);
        loop {
            match asked.remove(label).await {
                Ok(_) | Err(hezong_client::Error::Refused { status: 404, .. }) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn others(&self, place: usize) -> Vec<String> {
        let mut endpoints = self.endpoints();
        endpoints.remove(place);
        endpoints
    }
}
