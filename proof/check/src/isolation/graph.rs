//! A graph of what must come before what, its strongly connected parts, and the shortest cycle in one.
//!
//! Besides transactions it has *way stations*: nodes that stand for "after this version" or "after this instant". An edge
//! for every pair that they join would be a square of edges; through a station it is a sum. What enters a station says
//! what kind of edge the whole way is; edges out of it carry that on.

use std::collections::VecDeque;

/// What an edge says. The order is from what no model allows a cycle of to what only the strongest forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wrote the version before the other's.
    Ww,
    /// Wrote what the other read.
    Wr,
    /// Read the version before the other's.
    Rw,
    /// Ended before the other began.
    Before,
    /// Goes on from a station as the edge that led there.
    Carry,
}

/// What an edge rests on; a model that demands less does not know those that rest on more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// What transactions read and wrote.
    Data,
    /// The order in which one client asked.
    Session,
    /// The order in time.
    RealTime,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    /// What the edge is about, as its maker numbered it.
    pub(crate) about: u32,
}

/// Which cycles are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Of writes alone.
    Writes,
    /// Of writes and reads of them.
    Information,
    /// Of all kinds, no two `Rw` one after the other: those that snapshot isolation forbids (Cerone and Gotsman, 2018,
    /// theorem 9).
    NonAdjacent,
    /// Of all kinds.
    All,
}

pub(crate) struct Graph {
    /// Nodes below this are transactions, the others stations.
    transactions: u32,
    nodes: usize,
    /// By where they begin.
    edges: Vec<Edge>,
    /// Where those of each node start.
    starts: Vec<u32>,
}

/// A part of a graph: the edges that one question is about. Its nodes are those of the graph twice over: for
/// [`Class::NonAdjacent`] it matters whether the edge that led there was `Rw`; in the other classes only even ones are used.
pub(crate) struct View<'a> {
    graph: &'a Graph,
    class: Class,
    order: Order,
    /// How many more edges may be looked at in search of short cycles.
    visits_left: u64,
    distance: Vec<u32>,
    /// The double node and the edge by which each was reached.
    came_by: Vec<(u32, u32)>,
}

const NONE: u32 = u32::MAX;

impl Graph {
    pub(crate) fn new(transactions: usize, nodes: usize, mut edges: Vec<Edge>) -> Self {
        edges.sort_by_key(|edge| edge.from);
        let mut starts = vec![0; nodes + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let transactions = u32::try_from(transactions).expect("a history holds fewer than 2^31 transactions");
        Self { transactions, nodes, edges, starts }
    }

    pub(crate) fn edge(&self, number: u32) -> Edge {
        self.edges[number as usize]
    }

    pub(crate) fn is_station(&self, node: u32) -> bool {
        node >= self.transactions
    }

    pub(crate) fn view(&self, class: Class, order: Order, visits: u64) -> View<'_> {
        let nodes = 2 * self.nodes;
        View {
            graph: self,
            class,
            order,
            visits_left: visits,
            distance: vec![NONE; nodes],
            came_by: vec![(NONE, NONE); nodes],
        }
    }

    fn out(&self, node: u32) -> std::ops::Range<u32> {
        self.starts[node as usize]..self.starts[node as usize + 1]
    }
}

impl View<'_> {
    /// Where an edge leads from this double node, if it belongs to the view.
    fn follow(&self, from: u32, edge: Edge) -> Option<u32> {
        let after_rw = from % 2;
        let is_rw = match edge.kind {
            _ if edge.order > self.order => return None,
            Kind::Carry => return Some(2 * edge.to + after_rw),
            Kind::Wr if self.class < Class::Information => return None,
            Kind::Rw if self.class < Class::NonAdjacent => return None,
            Kind::Rw if self.class == Class::NonAdjacent && after_rw == 1 => return None,
            Kind::Rw => self.class == Class::NonAdjacent,
            Kind::Ww | Kind::Wr | Kind::Before => false,
        };
        Some(2 * edge.to + u32::from(is_rw))
    }

    /// The strongly connected parts of more than one node (Tarjan, 1972), without recursion: histories are long.
    pub(crate) fn parts(&self) -> Vec<Vec<u32>> {
        let nodes = 2 * self.graph.nodes;
        let (mut index, mut low) = (vec![NONE; nodes], vec![0_u32; nodes]);
        let mut on_stack = vec![false; nodes];
        let (mut stack, mut parts, mut next) = (Vec::new(), Vec::new(), 0);
        // A node, and which of its edges comes next.
        let mut calls: Vec<(u32, u32)> = Vec::new();
        for root in (0..self.graph.nodes).map(|node| u32::try_from(2 * node).expect("counted in u32")) {
            if index[root as usize] != NONE {
                continue;
            }
            calls.push((root, self.graph.out(root / 2).start));
            while let Some((node, edge)) = calls.last_mut() {
                let (at, here) = (*node as usize, *node);
                if index[at] == NONE {
                    (index[at], low[at]) = (next, next);
                    next += 1;
                    stack.push(here);
                    on_stack[at] = true;
                }
                if *edge < self.graph.out(here / 2).end {
                    let followed = self.follow(here, self.graph.edge(*edge));
                    *edge += 1;
                    match followed.map(|to| (to, to as usize)) {
                        Some((to, place)) if index[place] == NONE => calls.push((to, self.graph.out(to / 2).start)),
                        Some((_, place)) if on_stack[place] => low[at] = low[at].min(index[place]),
                        Some(_) | None => {}
                    }
                    continue;
                }
                calls.pop();
                if let Some((parent, _)) = calls.last() {
                    low[*parent as usize] = low[*parent as usize].min(low[at]);
                }
                if low[at] == index[at] {
                    let first = stack.iter().rposition(|other| *other == here).expect("a node stands on the stack");
                    let part = stack.split_off(first);
                    part.iter().for_each(|member| on_stack[*member as usize] = false);
                    if part.len() > 1 {
                        parts.push(part);
                    }
                }
            }
        }
        parts
    }

    /// The shortest cycle within a part, counted in transactions, as the numbers of its edges. Of a part so large that
    /// the search of all of it would take too long, the shortest through some of its transactions.
    pub(crate) fn shortest_cycle(&mut self, part: &[u32]) -> Vec<u32> {
        let mut members = part.to_vec();
        members.sort_unstable();
        let mut best: Vec<u32> = Vec::new();
        let mut best_length = NONE;
        for start in members.iter().copied().filter(|node| !self.graph.is_station(node / 2)) {
            if !best.is_empty() && (best_length == 2 || self.visits_left == 0) {
                break;
            }
            if let Some((length, cycle)) = self.cycle_through(start, &members, best_length) {
                (best_length, best) = (length, cycle);
            }
        }
        best
    }

    /// Breadth first, but a step into a station is free.
    fn cycle_through(&mut self, start: u32, members: &[u32], shorter_than: u32) -> Option<(u32, Vec<u32>)> {
        let mut touched = vec![start];
        let mut queue = VecDeque::from([(start, 0_u32)]);
        self.distance[start as usize] = 0;
        let mut found = None;
        'search: while let Some((node, distance)) = queue.pop_front() {
            if distance > self.distance[node as usize] || distance + 1 >= shorter_than {
                continue;
            }
            for number in self.graph.out(node / 2) {
                self.visits_left = self.visits_left.saturating_sub(1);
                let Some(to) = self.follow(node, self.graph.edge(number)) else { continue };
                if to == start {
                    found = Some((distance + 1, node, number));
                    break 'search;
                }
                let free = self.graph.is_station(to / 2);
                let there = distance + u32::from(!free);
                if there >= self.distance[to as usize] || members.binary_search(&to).is_err() {
                    continue;
                }
                touched.push(to);
                self.distance[to as usize] = there;
                self.came_by[to as usize] = (node, number);
                if free { queue.push_front((to, there)) } else { queue.push_back((to, there)) }
            }
        }
        let found = found.map(|(length, node, last)| (length, self.walk_back(start, node, last)));
        for node in touched {
            self.distance[node as usize] = NONE;
        }
        found
    }

    /// The edges of the way from `start` back to it that ends with the edge `last` out of `node`.
    fn walk_back(&self, start: u32, mut node: u32, last: u32) -> Vec<u32> {
        let mut cycle = vec![last];
        while node != start {
            let (from, edge) = self.came_by[node as usize];
            cycle.push(edge);
            node = from;
        }
        cycle.reverse();
        cycle
    }
}
