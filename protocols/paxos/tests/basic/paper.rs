//! *Paxos Made Simple*, sentence by sentence where a sentence binds. One acceptor is asked directly; n1 is the node, n2 and n3
//! are whoever asks and answers.

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Phase, Proposal, Request, Saved, Write};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// A node of three acceptors whose disk takes no time.
struct Alone {
    node: Paxos,
    disk: Saved,
    sent: Vec<(NodeId, Message)>,
    told: Vec<Event>,
}

impl Alone {
    fn new(disk: Saved) -> Self {
        let config = Config::new(N1, [N1, N2, N3].into());
        let mut out = Vec::new();
        let node = Paxos::start(Time::ZERO, config, disk.clone(), Rng::new(1), &mut out);
        let mut alone = Self { node, disk, sent: Vec::new(), told: Vec::new() };
        alone.carry_out(out);
        alone
    }

    fn hand(&mut self, input: Input<Paxos>) {
        let mut out = Vec::new();
        self.node.handle(Time::ZERO, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Effect<Paxos>>) {
        let mut stored = None;
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.sent.push((to, message)),
                Effect::Store { id, write } => {
                    Paxos::save(&mut self.disk, &write);
                    stored = Some(id);
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.told.push(event),
            }
        }
        if let Some(id) = stored {
            self.hand(Input::Stored(id));
        }
    }

    /// Hears something; what it answers to whoever said it.
    fn hears(&mut self, from: NodeId, message: Message) -> Vec<Message> {
        self.sent.clear();
        self.hand(Input::Message { from, message });
        self.sent.iter().filter(|(to, _)| *to == from).map(|(_, message)| message.clone()).collect()
    }

    fn proposes(&mut self, value: &'static str) {
        self.sent.clear();
        self.hand(Input::Request { id: RequestId(1), request: Request::Propose(Bytes::from(value)) });
    }
}

fn ballot(round: u64, node: NodeId) -> Ballot {
    Ballot { round, node }
}

fn proposal(value: &'static str, ballot: Ballot) -> Proposal {
    Proposal { ballot, value: Bytes::from(value) }
}

#[test]
fn p1_acceptor_accepts_the_first_proposal_it_receives() {
    let (mut alone, first) = (Alone::new(Saved::default()), proposal("x", ballot(1, N2)));
    assert_eq!(alone.hears(N2, Message::Accept(first.clone())), [Message::Accepted(first)]);
}

#[test]
fn p1a_acceptor_accepts_unless_it_has_answered_a_prepare_request_of_a_greater_number() {
    let mut alone = Alone::new(Saved::default());
    alone.hears(N2, Message::Prepare(ballot(2, N2)));
    let late = proposal("x", ballot(1, N3));
    let refused = Message::Nack { ballot: late.ballot, promised: ballot(2, N2) };
    assert_eq!(alone.hears(N3, Message::Accept(late)), [refused]);
    let promised = proposal("y", ballot(2, N2));
    assert_eq!(alone.hears(N2, Message::Accept(promised.clone())), [Message::Accepted(promised)]);
}

#[test]
fn phase_1b_promise_names_the_highest_numbered_proposal_that_was_accepted() {
    let mut alone = Alone::new(Saved::default());
    let accepted = proposal("x", ballot(1, N2));
    alone.hears(N2, Message::Accept(accepted.clone()));
    let asked = ballot(2, N3);
    assert_eq!(
        alone.hears(N3, Message::Prepare(asked)),
        [Message::Promise { ballot: asked, accepted: Some(accepted) }]
    );
}

#[test]
fn acceptor_ignores_prepare_requests_below_its_promise_and_answers_repeated_ones_again() {
    let mut alone = Alone::new(Saved::default());
    let high = ballot(5, N2);
    let promise = Message::Promise { ballot: high, accepted: None };
    assert_eq!(alone.hears(N2, Message::Prepare(high)), std::slice::from_ref(&promise));
    assert_eq!(alone.hears(N2, Message::Prepare(high)), [promise]);
    let low = ballot(4, N3);
    assert_eq!(alone.hears(N3, Message::Prepare(low)), [Message::Nack { ballot: low, promised: high }]);
}

#[test]
fn p2c_proposer_takes_the_value_of_the_highest_numbered_proposal_among_the_answers() {
    let mut alone = Alone::new(Saved { accepted: Some(proposal("x", ballot(1, N2))), ..Saved::default() });
    alone.proposes("own");
    let Phase::Preparing { ballot: ours, .. } = *alone.node.phase() else { panic!("{:?}", alone.node.phase()) };
    let accepted = Some(proposal("y", ballot(1, N3)));
    alone.hears(N3, Message::Promise { ballot: ours, accepted });
    assert_eq!(*alone.node.phase(), Phase::Accepting(proposal("y", ours)));
}

#[test]
fn p2c_proposer_is_free_where_no_answer_names_a_proposal() {
    let mut alone = Alone::new(Saved::default());
    alone.proposes("own");
    let ours = ballot(1, N1);
    alone.hears(N2, Message::Promise { ballot: ours, accepted: None });
    assert_eq!(*alone.node.phase(), Phase::Accepting(proposal("own", ours)));
}

#[test]
fn section_2_5_acceptor_remembers_after_failure_what_it_promised_and_accepted() {
    let mut alone = Alone::new(Saved::default());
    let accepted = proposal("x", ballot(1, N2));
    alone.hears(N2, Message::Accept(accepted.clone()));
    alone.hears(N3, Message::Prepare(ballot(3, N3)));
    let mut again = Alone::new(alone.disk);
    let low = proposal("y", ballot(2, N2));
    let refused = Message::Nack { ballot: low.ballot, promised: ballot(3, N3) };
    assert_eq!(again.hears(N2, Message::Accept(low)), [refused]);
    assert_eq!(again.node.accepted(), Some(&accepted));
}

#[test]
fn section_2_5_proposer_begins_with_a_higher_number_than_any_it_has_used() {
    let mut alone = Alone::new(Saved::default());
    alone.proposes("x");
    assert_eq!(alone.disk.round, 1, "on disk before anybody hears of it");
    let mut again = Alone::new(alone.disk);
    again.proposes("y");
    assert_eq!(again.sent.first(), Some(&(N2, Message::Prepare(ballot(2, N1)))));
}

#[test]
fn learner_majority_at_one_ballot_chooses() {
    let mut alone = Alone::new(Saved::default());
    alone.hears(N2, Message::Accepted(proposal("x", ballot(1, N2))));
    alone.hears(N3, Message::Accepted(proposal("x", ballot(2, N3))));
    assert_eq!(alone.node.chosen(), None, "twice the same value, at two ballots");
    alone.hears(N2, Message::Accepted(proposal("x", ballot(2, N3))));
    assert_eq!(alone.told, [Event::Chosen(Bytes::from("x"))]);
    assert_eq!(alone.disk.chosen, Some(Bytes::from("x")));
}

#[test]
fn nonsense_is_dropped() {
    let mut alone = Alone::new(Saved::default());
    let endless = ballot(u64::MAX, N2);
    let long = Proposal { ballot: ballot(1, N2), value: vec![0; (1 << 20) + 1].into() };
    for message in [Message::Prepare(endless), Message::Prepare(ballot(0, N2)), Message::Accept(long)] {
        assert_eq!(alone.hears(N2, message.clone()), [], "{message:?}");
    }
    // Two values at one ballot: somebody has forgotten the first. The second is nobody's.
    alone.hears(N2, Message::Accept(proposal("x", ballot(1, N2))));
    assert_eq!(alone.hears(N2, Message::Accept(proposal("y", ballot(1, N2)))), []);
    // Who accepts nothing has no say in what is chosen.
    alone.hears(NodeId(9), Message::Accepted(proposal("z", ballot(1, N2))));
    alone.hears(NodeId(8), Message::Accepted(proposal("z", ballot(1, N2))));
    assert_eq!(alone.node.chosen(), None);
    assert_eq!(alone.disk, {
        let mut disk = Saved::default();
        Paxos::save(&mut disk, &Write::Accept(proposal("x", ballot(1, N2))));
        disk
    });
}
