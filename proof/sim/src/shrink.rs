//! Cuts a failing run down until little is left of it that still breaks the same property.
//!
//! Shorter, without frames that get lost, with fewer clients, and with fewer strikes: each is tried in turn, and again, as
//! long as something comes of it (strikes by halves, then quarters and so on: "delta debugging", Zeller and Hildebrandt,
//! 2002). Whatever is left out changes how the run goes on, so that a bug that needs two things at the same moment seldom
//! shows in the very next run; therefore what fails to fail is tried again at other paces before it is given up.
//!
//! How much is tried is bounded by runs and events, never by a clock: the same seed is cut down to the same run everywhere.

use std::collections::BTreeSet;

use crate::cut::{Cut, Hardship, Strike, Strikes};
use crate::run::{Case, Report, UNDECIDED};
use crate::sim::Sim;
use crate::story::Story;

/// How much is tried at most.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs.
    pub runs: u64,
    /// Events of all of them.
    pub events: u64,
}

impl Default for Effort {
    /// Half a minute or less.
    fn default() -> Self {
        Self { runs: 2_000, events: 15_000_000 }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run that is left.
    pub case: Case,
    /// What the whole run showed.
    pub before: Report,
    /// What the one that is left shows.
    pub after: Report,
    /// How many were tried.
    pub runs: u64,
}

/// Paces tried before something is taken to be needed, where runs are long.
const PACES_MIN: u64 = 3;
/// Where they are short, as many as make up so many events, up to so many.
const PACE_EVENTS: u64 = 10_000;
/// See `PACE_EVENTS`.
const PACES_MAX: u64 = 12;

/// Cuts a case down; `None` when nothing is wrong with it, or nothing that a single run shows. `progress` is told of each
/// run that is taken over, after how many.
pub fn shrink(case: &Case, effort: Effort, progress: &mut dyn FnMut(u64, &Report)) -> Option<Shrunk> {
    let before = case.run();
    let property = before.violation.as_ref()?.property;
    let mut search =
        Search { property, case: case.clone(), report: before.clone(), runs: 0, events: 0, effort, progress };
    search.stop_at_violation();
    loop {
        let weight = search.weight();
        search.leave_out_events();
        search.leave_out_hardships();
        search.leave_out_strikes();
        search.leave_out_people();
        search.change_pace();
        if search.weight() == weight || search.is_over() {
            break;
        }
    }
    Some(Shrunk { case: search.case, before, after: search.report, runs: search.runs })
}

/// The lightest run so far, and how it was come by.
struct Search<'a> {
    property: &'static str,
    case: Case,
    report: Report,
    runs: u64,
    events: u64,
    effort: Effort,
    progress: &'a mut dyn FnMut(u64, &Report),
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.runs >= self.effort.runs || self.events >= self.effort.events
    }

    /// How much there is to read, by guess: what makes a run hard to follow counts as so many events.
    fn weight(&self) -> u64 {
        weight(&self.case, &self.report)
    }

    /// Runs a case and takes it over if it breaks the same and is lighter.
    fn offer(&mut self, case: Case) -> bool {
        if self.is_over() {
            return false;
        }
        let report = case.run();
        self.runs += 1;
        self.events += report.events;
        let same = report.violation.as_ref().is_some_and(|violation| violation.property == self.property);
        if !same || self.property == UNDECIDED || weight(&case, &report) >= self.weight() {
            return false;
        }
        (self.case, self.report) = (case, report);
        self.stop_at_violation();
        (self.progress)(self.runs, &self.report);
        true
    }

    /// The same at other paces, too.
    fn offer_at_paces(&mut self, case: &Case) -> bool {
        let paces = case.cut.pace..case.cut.pace + self.paces();
        paces.into_iter().any(|pace| self.offer(Case { cut: Cut { pace, ..case.cut.clone() }, ..case.clone() }))
    }

    /// How many are worth a try.
    fn paces(&self) -> u64 {
        (PACE_EVENTS / self.report.events.max(1)).clamp(PACES_MIN, PACES_MAX)
    }

    fn with_cut(&self, change: impl FnOnce(&mut Cut)) -> Case {
        let mut case = self.case.clone();
        change(&mut case.cut);
        case
    }

    /// A run that was over before everything was healed need not be any longer, nor name what would have struck later.
    fn stop_at_violation(&mut self) {
        let events = &mut self.case.options.events;
        *events = (*events).min(self.report.events + 1);
        if let Some(only) = &mut self.case.cut.only {
            only.0.retain(|strike| self.report.strikes.contains(strike));
        }
    }

    /// Heals earlier. Up to there the run stays what it was.
    fn leave_out_events(&mut self) {
        let mut step = self.case.options.events / 2;
        while step > self.case.options.events / 64 && !self.is_over() {
            let mut case = self.case.clone();
            case.options.events -= step.min(case.options.events - 1);
            if !self.offer(case) {
                step /= 2;
            }
            step = step.min(self.case.options.events / 2);
        }
    }

    fn leave_out_hardships(&mut self) {
        let plan =
            Sim::new(self.case.seed, self.case.options.slip, self.case.options.shape, &self.case.cut, Story::default())
                .plan;
        let there: BTreeSet<_> = Hardship::ALL.into_iter().filter(|hardship| hardship.is_in(&plan)).collect();
        if there.is_empty() || self.offer_at_paces(&self.with_cut(|cut| cut.without.extend(&there))) {
            return;
        }
        for hardship in there {
            self.offer_at_paces(&self.with_cut(|cut| cut.without.extend([hardship])));
        }
    }

    fn leave_out_strikes(&mut self) {
        let only = |strikes: &[Strike]| Some(Strikes(strikes.iter().copied().collect()));
        if self.offer_at_paces(&self.with_cut(|cut| cut.only = only(&[]))) {
            return;
        }
        let mut parts = 2;
        loop {
            let strikes = self.report.strikes.clone();
            if strikes.is_empty() || self.is_over() {
                return;
            }
            let length = strikes.len().div_ceil(parts);
            let without = |from: usize| {
                let rest: Vec<_> =
                    strikes.iter().take(from).chain(strikes.iter().skip(from + length)).copied().collect();
                only(&rest)
            };
            // The last ones first: without them the run stays what it was for longest.
            let starts = (0..strikes.len()).step_by(length).rev();
            let left =
                starts.into_iter().any(|from| self.offer_at_paces(&self.with_cut(|cut| cut.only = without(from))));
            match left {
                true => parts = (parts - 1).max(2),
                false if length == 1 => return,
                false => parts = (parts * 2).min(strikes.len()),
            }
        }
    }

    fn leave_out_people(&mut self) {
        for clients in [1, 2, 4] {
            if self.offer_at_paces(&self.with_cut(|cut| cut.clients = Some(clients))) {
                break;
            }
        }
        for keys in [1, 2] {
            if self.offer_at_paces(&self.with_cut(|cut| cut.keys = Some(keys))) {
                break;
            }
        }
        for nodes in [2, 3, 4] {
            if self.offer_at_paces(&self.with_cut(|cut| cut.nodes = Some(nodes))) {
                break;
            }
        }
    }

    fn change_pace(&mut self) {
        let own = self.case.cut.pace;
        for pace in own + 1..=own + 2 * self.paces() {
            self.offer(self.with_cut(|cut| cut.pace = pace));
        }
    }
}

fn weight(case: &Case, report: &Report) -> u64 {
    const STRIKE: u64 = 300;
    const FRAMES: u64 = 200;
    const OTHER: u64 = 50;
    let plan = Sim::new(case.seed, case.options.slip, case.options.shape, &case.cut, Story::default()).plan;
    let hardship = |hardship: Hardship| match hardship {
        _ if !hardship.is_in(&plan) => 0,
        Hardship::Loss | Hardship::Delay | Hardship::Duplication => FRAMES,
        Hardship::Turns | Hardship::Limits => OTHER,
    };
    let hardships: u64 = Hardship::ALL.into_iter().map(hardship).sum();
    let people = plan.clients as u64 + plan.keys + plan.nodes * 2;
    report.strikes.len() as u64 * STRIKE + hardships + people * OTHER + report.events
}
