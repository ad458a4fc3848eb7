//! From what nodes tell to what is shown: rows, rates and quantiles. Pure; time comes in with each round.

use std::collections::BTreeMap;
use std::time::Duration;

use hezong_client::Member;
use serde::{Deserialize, Serialize};

use crate::top::metrics::{Between, Metrics};

/// What all members told at about the same time.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// When, since the program began.
    pub(super) at: Duration,
    pub(super) members: Vec<Member>,
    /// By number; why not, for one that did not tell.
    pub(super) told: BTreeMap<u64, Result<Told, String>>,
}

/// What one node told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) status: Status,
    pub(super) metrics: Metrics,
}

/// What is shown of `/status`. A node of another version may leave something out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) cluster_id: String,
    pub(super) version: String,
    pub(super) role: String,
    pub(super) term: u64,
    pub(super) last_index: u64,
    pub(super) commit_index: u64,
    pub(super) applied_index: u64,
    /// The first that the log still holds.
    pub(super) first_index: u64,
    pub(super) last_contact_ms: Option<u64>,
    pub(super) membership_index: u64,
    pub(super) joint: bool,
    pub(super) revision: u64,
    pub(super) keys: u64,
    pub(super) members: Vec<Member>,
}

/// Everything that is shown at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) cluster_id: String,
    pub(super) groups: Vec<Group>,
    pub(super) nodes: Vec<Row>,
}

/// How a group stands, by the word of its leader or of whoever knows most.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) group: u64,
    /// Its label; `None` while none is known.
    pub(super) leader: Option<String>,
    pub(super) term: u64,
    pub(super) voters: usize,
    pub(super) members: usize,
    /// Whether a change of several voters is half done.
    pub(super) joint: bool,
    pub(super) commit_index: u64,
    pub(super) revision: u64,
    pub(super) keys: u64,
    /// Over all nodes.
    pub(super) writes_per_second: f64,
    pub(super) reads_per_second: f64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) node_id: u64,
    pub(super) id: String,
    pub(super) http_addr: String,
    pub(super) suffrage: String,
    #[serde(flatten)]
    pub(super) state: State,
}

/// Whether it answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum State {
    #[serde(rename_all = "camelCase")]
    Silent {
        silent_seconds: u64,
        error: String,
    },
    Answers(Figures),
}

/// What a node that answers stands at and does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) role: String,
    pub(super) term: u64,
    pub(super) last_index: u64,
    pub(super) commit_index: u64,
    pub(super) applied_index: u64,
    pub(super) log_entries: u64,
    pub(super) last_contact_ms: Option<u64>,
    pub(super) snapshots_held: u64,
    pub(super) fetching: bool,
    pub(super) restoring: bool,
    /// `None` until it has told twice.
    pub(super) rates: Option<Rates>,
}

/// What changed between two rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rates {
    pub(super) writes_per_second: f64,
    pub(super) reads_per_second: f64,
    /// `None` where nothing was written.
    pub(super) write_p50_seconds: Option<f64>,
    pub(super) write_p99_seconds: Option<f64>,
    pub(super) sync_p50_seconds: Option<f64>,
    pub(super) sync_p99_seconds: Option<f64>,
    pub(super) received_bytes_per_second: f64,
    pub(super) sent_bytes_per_second: f64,
    pub(super) snapshot_received_bytes_per_second: f64,
    pub(super) snapshot_sent_bytes_per_second: f64,
}

/// What rows are in the order of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Label,
    /// The busiest first.
    Writes,
    /// The slowest first.
    Latency,
    /// Who has applied least first.
    Lag,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Label => Self::Writes,
            Self::Writes => Self::Latency,
            Self::Latency => Self::Lag,
            Self::Lag => Self::Label,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Writes => "writes",
            Self::Latency => "latency",
            Self::Lag => "lag",
        }
    }
}

/// What must be remembered from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Board {
    last: Option<Round>,
    /// Since when a node has not answered.
    silent: BTreeMap<u64, Duration>,
}

impl Board {
    /// Takes a round in, and says what is to be shown.
    pub(super) fn take(&mut self, round: Round) -> View {
        self.silent.retain(|id, _| matches!(round.told.get(id), Some(Err(_))));
        for (id, _) in round.told.iter().filter(|(_, told)| told.is_err()) {
            self.silent.entry(*id).or_insert(round.at);
        }
        let nodes: Vec<Row> = round.members.iter().map(|member| self.row(member, &round)).collect();
        let view =
            View { cluster_id: cluster_of(&round), groups: group_of(&round, &nodes).into_iter().collect(), nodes };
        self.last = Some(round);
        view
    }

    fn row(&self, member: &Member, round: &Round) -> Row {
        let id = member.node_id;
        let state = match round.told.get(&id) {
            Some(Ok(told)) => {
                let before = self.last.as_ref().and_then(|last| Some((last.at, last.told.get(&id)?.as_ref().ok()?)));
                let rates =
                    before.map(|(at, before)| rates(&before.metrics, &told.metrics, round.at.saturating_sub(at)));
                State::Answers(figures(told, rates))
            }
            Some(Err(error)) => {
                let since = self.silent.get(&id).copied().unwrap_or(round.at);
                State::Silent { silent_seconds: round.at.saturating_sub(since).as_secs(), error: error.clone() }
            }
            None => State::Silent { silent_seconds: 0, error: "it was not asked yet".to_owned() },
        };
        let (label, http_addr, suffrage) = (member.id.clone(), member.http_addr.clone(), member.suffrage.clone());
        Row { node_id: id, id: label, http_addr, suffrage, state }
    }
}

impl View {
    pub(super) fn sort(&mut self, by: Sort) {
        let figures = |row: &Row| match &row.state {
            State::Answers(figures) => Some(figures.clone()),
            State::Silent { .. } => None,
        };
        let rate = |row: &Row, of: fn(&Rates) -> f64| -> f64 {
            figures(row).and_then(|f| f.rates.map(|r| of(&r))).unwrap_or(-1.0)
        };
        match by {
            Sort::Label => self.nodes.sort_by(|one, other| one.id.cmp(&other.id)),
            Sort::Writes => {
                let writes = |row: &Row| rate(row, |rates| rates.writes_per_second);
                self.nodes.sort_by(|one, other| writes(other).total_cmp(&writes(one)));
            }
            Sort::Latency => {
                let latency = |row: &Row| rate(row, |rates| rates.write_p99_seconds.unwrap_or(0.0));
                self.nodes.sort_by(|one, other| latency(other).total_cmp(&latency(one)));
            }
            // Who does not answer may lag furthest.
            Sort::Lag => self.nodes.sort_by_key(|row| figures(row).map(|figures| figures.applied_index)),
        }
    }
}

fn figures(told: &Told, rates: Option<Rates>) -> Figures {
    let (status, metrics) = (&told.status, &told.metrics);
    Figures {
        version: status.version.clone(),
        role: status.role.clone(),
        term: status.term,
        last_index: status.last_index,
        commit_index: status.commit_index,
        applied_index: status.applied_index,
        log_entries: (status.last_index + 1).saturating_sub(status.first_index),
        last_contact_ms: status.last_contact_ms,
        snapshots_held: metrics.number("hezong_snapshots_held") as u64,
        fetching: metrics.number("hezong_snapshot_fetching") > 0.0,
        restoring: metrics.number("hezong_restoring") > 0.0,
        rates,
    }
}

fn rates(earlier: &Metrics, later: &Metrics, apart: Duration) -> Rates {
    let between = Between { earlier, later };
    let seconds = apart.as_secs_f64().max(1e-3);
    let done = |labels: &str, operations: &[&str]| labels.contains("status=\"2xx\"") && is_of(labels, operations);
    let writes = between.grew_where("hezong_http_requests_total", |labels| done(labels, WRITES));
    let reads = between.grew_where("hezong_http_requests_total", |labels| done(labels, READS));
    // Where nothing was written there are redirects at most, whose times say nothing of writes.
    let write = |share| {
        let quantile = between.quantile("hezong_http_request_seconds", share, |labels| is_of(labels, WRITES));
        quantile.filter(|_| writes > 0.0)
    };
    let sync = |share| between.quantile("hezong_log_sync_seconds", share, |_| true);
    Rates {
        writes_per_second: writes / seconds,
        reads_per_second: reads / seconds,
        write_p50_seconds: write(0.5),
        write_p99_seconds: write(0.99),
        sync_p50_seconds: sync(0.5),
        sync_p99_seconds: sync(0.99),
        received_bytes_per_second: between.grew("hezong_peer_received_bytes_total") / seconds,
        sent_bytes_per_second: between.grew("hezong_peer_sent_bytes_total") / seconds,
        snapshot_received_bytes_per_second: between.grew("hezong_snapshot_received_bytes_total") / seconds,
        snapshot_sent_bytes_per_second: between.grew("hezong_snapshot_sent_bytes_total") / seconds,
    }
}

const WRITES: &[&str] = &["set", "put", "add", "delete"];
const READS: &[&str] = &["get", "scan"];

fn is_of(labels: &str, operations: &[&str]) -> bool {
    operations.iter().any(|operation| labels.contains(&format!("operation=\"{operation}\"")))
}

fn cluster_of(round: &Round) -> String {
    round.told.values().flatten().map(|told| told.status.cluster_id.clone()).next().unwrap_or_default()
}

/// The one group this version has.
fn group_of(round: &Round, nodes: &[Row]) -> Option<Group> {
    let told = || round.told.iter().filter_map(|(id, told)| Some((*id, told.as_ref().ok()?)));
    // A leader of a later term knows better than one that cannot know yet that it was deposed.
    let leader = told().filter(|(_, told)| told.status.role == "leader").max_by_key(|(_, told)| told.status.term);
    let (_, best) = leader.or_else(|| told().max_by_key(|(_, told)| (told.status.term, told.status.commit_index)))?;
    let label = |id: u64| round.members.iter().find(|member| member.node_id == id).map(|member| member.id.clone());
    let sum = |of: fn(&Rates) -> f64| -> f64 {
        let rates = nodes.iter().filter_map(|row| match &row.state {
            State::Answers(figures) => figures.rates.as_ref(),
            State::Silent { .. } => None,
        });
        rates.map(of).sum()
    };
    Some(Group {
        group: crate::node::GROUP.0,
        leader: leader.and_then(|(id, _)| label(id)),
        term: best.status.term,
        voters: round.members.iter().filter(|member| member.suffrage != "learner").count(),
        members: round.members.len(),
        joint: best.status.joint,
        commit_index: best.status.commit_index,
        revision: best.status.revision,
        keys: best.status.keys,
        writes_per_second: sum(|rates| rates.writes_per_second),
        reads_per_second: sum(|rates| rates.reads_per_second),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::top) fn member(id: u64) -> Member {
        let at = |port: u64| format!("127.0.0.1:{}", port + id);
        Member {
            node_id: id,
            id: format!("node{id:02}"),
            http_addr: at(8090),
            raft_addr: at(8080),
            suffrage: "voter".to_owned(),
            leader: id == 1,
            reachable: None,
        }
    }

    fn told(role: &str, puts: u64, applied: u64) -> Result<Told, String> {
        let status = Status {
            cluster_id: "c".to_owned(),
            role: role.to_owned(),
            term: 3,
            last_index: applied + 1,
            commit_index: applied,
            applied_index: applied,
            first_index: 11,
            ..Status::default()
        };
        let metrics = Metrics::parse(&format!(
            "hezong_http_requests_total{{operation=\"put\",status=\"2xx\"}} {puts}\n\
             hezong_http_requests_total{{operation=\"put\",status=\"3xx\"}} 1000\n\
             hezong_http_requests_total{{operation=\"get\",status=\"2xx\"}} {}\n\
             hezong_http_request_seconds_bucket{{operation=\"put\",le=\"0.001\"}} {puts}\n\
             hezong_http_request_seconds_bucket{{operation=\"put\",le=\"+Inf\"}} {puts}\n\
             hezong_peer_sent_bytes_total {}\nhezong_snapshots_held 2\n",
            puts * 2,
            puts * 100
        ));
        Ok(Told { status, metrics })
    }

    /// Two rounds four seconds apart: the first leads and takes 100 puts between them, the third falls silent.
    pub(in crate::top) fn view() -> View {
        let round = |at, told: [Result<Told, String>; 3]| Round {
            at: Duration::from_secs(at),
            members: (1..=3).map(member).collect(),
            told: (1..).zip(told).collect(),
        };
        let mut board = Board::default();
        board.take(round(1, [told("leader", 50, 90), told("follower", 0, 80), told("follower", 0, 90)]));
        board.take(round(3, [told("leader", 60, 95), told("follower", 0, 80), Err("refused".to_owned())]));
        board.take(round(7, [told("leader", 160, 190), told("follower", 0, 180), Err("refused".to_owned())]))
    }

    fn answers(row: &Row) -> &Figures {
        match &row.state {
            State::Answers(figures) => figures,
            State::Silent { error, .. } => panic!("{error}"),
        }
    }

    #[test]
    fn rates_are_of_the_last_two_rounds_and_redirects_are_no_writes() {
        let view = view();
        let leader = answers(&view.nodes[0]);
        let rates = leader.rates.as_ref().unwrap();
        assert_eq!(
            (rates.writes_per_second, rates.reads_per_second, rates.sent_bytes_per_second),
            (25.0, 50.0, 2_500.0)
        );
        assert_eq!(rates.write_p50_seconds, Some(0.000_5));
        assert_eq!((leader.log_entries, leader.snapshots_held), (181, 2));
        let follower = answers(&view.nodes[1]).rates.clone().unwrap();
        assert_eq!((follower.writes_per_second, follower.write_p50_seconds), (0.0, None));
    }

    #[test]
    fn silent_nodes_are_shown_with_since_when() {
        let view = view();
        assert_eq!(view.nodes[2].state, State::Silent { silent_seconds: 4, error: "refused".to_owned() });
        // One that comes back has no rates at once, and is not silent since then when it falls silent again.
        let mut board = Board::default();
        let round =
            |at, told| Round { at: Duration::from_secs(at), members: vec![member(1)], told: [(1, told)].into() };
        board.take(round(0, Err("gone".to_owned())));
        assert_eq!(answers(&board.take(round(5, told("leader", 1, 1))).nodes[0]).rates, None);
        let again = board.take(round(9, Err("gone".to_owned())));
        assert_eq!(again.nodes[0].state, State::Silent { silent_seconds: 0, error: "gone".to_owned() });
    }

    #[test]
    fn group_is_by_the_word_of_the_leader_of_the_latest_term() {
        let group = view().groups.remove(0);
        assert_eq!((group.leader.as_deref(), group.commit_index, group.voters), (Some("node01"), 190, 3));
        assert_eq!((group.writes_per_second, group.reads_per_second), (25.0, 50.0));
        let mut deposed = told("leader", 0, 500).unwrap();
        deposed.status.term = 2;
        let told = BTreeMap::from([(1, Ok(deposed)), (2, told("leader", 0, 7))]);
        let view = Board::default().take(Round { at: Duration::ZERO, members: vec![member(1), member(2)], told });
        assert_eq!((view.groups[0].leader.as_deref(), view.groups[0].term), (Some("node02"), 3));
    }

    #[test]
    fn sort_orders_rows_by_what_it_is_called() {
        let mut view = view();
        let order = |view: &View| view.nodes.iter().map(|row| row.node_id).collect::<Vec<_>>();
        view.sort(Sort::Lag);
        assert_eq!(order(&view), [3, 2, 1]);
        view.sort(Sort::Writes);
        assert_eq!(order(&view), [1, 2, 3]);
        view.sort(Sort::Lag);
        view.sort(Sort::Latency);
        assert_eq!(order(&view)[0], 1);
        view.sort(Sort::Label);
        assert_eq!(order(&view), [1, 2, 3]);
        let all = std::iter::successors(Some(Sort::default()), |sort| Some(sort.next()));
        assert_eq!(all.take(5).map(Sort::name).collect::<Vec<_>>(), ["label", "writes", "latency", "lag", "label"]);
    }
}
