//! Where exploration begins: the nodes just started, or behind a script of real steps.

use std::collections::BTreeSet;

use super::{Action, Cluster, NODES_MAX, State, Step};
use crate::Model;
use crate::node::How;
use crate::subject::{Scripted, Subject};

impl<S: Subject> Cluster<S> {
    /// Plays the script from the beginning.
    pub(super) fn play(&mut self) -> State {
        let mut nodes = [0; NODES_MAX];
        nodes[..self.first.len()].copy_from_slice(&self.first);
        let nothing = self.nothing();
        let mut state = State { nodes, network: nothing.clone(), past: 0, crashes: 0, requests: 0 };
        let said = self.first_letters.clone();
        state.network = self.network(&state, &said, 0, &nodes, 0);
        let mut arrived = BTreeSet::new();
        for scripted in self.subject.script() {
            match scripted {
                Scripted::Exchange(among) => {
                    while let Some(to) = self.arrives(&mut state, &mut arrived, among, among) {
                        self.store(&mut state, to);
                    }
                }
                Scripted::Deliver(from, to) => {
                    let one = self.arrives(&mut state, &mut arrived, &[from], &[to]);
                    self.store(&mut state, one.expect("something is on its way"));
                }
                Scripted::Tear(from, to) => {
                    let one = self.arrives(&mut state, &mut arrived, &[from], &[to]).expect("something is on its way");
                    if self.is_storing(&state, one) {
                        self.take(&mut state, one, Step::Stored);
                    }
                    self.take(&mut state, one, Step::Restart);
                }
                Scripted::Timeout(node) => {
                    self.take(&mut state, node - 1, Step::Timeout);
                    self.store(&mut state, node - 1);
                }
                Scripted::Request(node) => {
                    let nth = state.requests + 1;
                    self.take(&mut state, node - 1, Step::Request(nth));
                    self.store(&mut state, node - 1);
                }
                Scripted::Forget => state.network = nothing.clone(),
            }
        }
        state
    }

    /// Lets the first message arrive that was sent from one of these to one of those; who gets it, counted from 0,
    /// if there is any. Numbers of messages grow as they are sent, since nothing else happened before.
    fn arrives(&mut self, state: &mut State, arrived: &mut BTreeSet<u32>, from: &[u8], to: &[u8]) -> Option<u8> {
        let first = state.network.letters.iter().copied().find(|letter| {
            let sent = &self.letters[*letter];
            from.contains(&(sent.from + 1)) && to.contains(&(sent.to + 1)) && !arrived.contains(letter)
        });
        let letter = first?;
        arrived.insert(letter);
        let to = self.letters[letter].to;
        self.take(state, to, Step::Deliver(letter));
        Some(to)
    }

    /// Takes a step.
    fn take(&mut self, state: &mut State, node: u8, step: Step) {
        let how = How::Soon;
        let outcome = self.outcome(state.nodes[usize::from(node)], step, how);
        let next = self.next(state, &Action { node, step, how, outcome });
        let next = next.and_then(|next| self.check(&next).map(|()| next));
        *state = next.unwrap_or_else(|violation| panic!("the script breaks a property: {violation}"));
    }

    /// Whatever a node has written is on its disk.
    fn store(&mut self, state: &mut State, node: u8) {
        while self.is_storing(state, node) {
            self.take(state, node, Step::Stored);
        }
    }

    fn is_storing(&self, state: &State, node: u8) -> bool {
        self.known[state.nodes[usize::from(node)]].node.is_storing()
    }
}
