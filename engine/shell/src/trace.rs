//! Requests that are traced: what is told of their steps, which requests are, and where what is told goes. Names, units
//! and the form on the wire are those of W3C Trace Context and OpenTelemetry.
//!
//! Spans leave through a bounded channel that never waits: what does not fit is dropped and counted. `follow.rs` finds
//! most of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

pub use hezong_codec::TraceContext;
use tokio::sync::mpsc;

/// How many spans may wait to be exported.
const SPANS_MAX: usize = 4_096;

/// A step of a traced request.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace, and its own id.
    pub context: TraceContext,
    /// The step that caused it; `None` for the first.
    pub parent: Option<[u8; 8]>,
    /// As `docs/tracing.md` lists them.
    pub name: &'static str,
    /// Whether it serves a request that came from another process.
    pub serves: bool,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// As `docs/tracing.md` lists them.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub failed: bool,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

/// Where spans go, and which requests have any.
pub struct Tracer {
    spans: mpsc::Sender<Span>,
    one_in: AtomicU32,
    /// How many requests came without a trace.
    requests: AtomicU64,
    dropped: AtomicU64,
    exported: AtomicU64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("one_in", &self.one_in).finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer, and where its spans come out. As for `one_in`: see [`Tracer::set_one_in`].
    #[must_use]
    pub fn new(one_in: u32) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (spans, out) = mpsc::channel(SPANS_MAX);
        let zero = || AtomicU64::new(0);
        let one_in = AtomicU32::new(one_in);
        (Arc::new(Self { spans, one_in, requests: zero(), dropped: zero(), exported: zero() }), out)
    }

    /// From now on, of so many requests that come without a trace one begins a trace; 0: none.
    pub fn set_one_in(&self, one_in: u32) {
        self.one_in.store(one_in, Ordering::Relaxed);
    }

    /// Where a request belongs that came with this `traceparent`, or without one: the context of its own first span here,
    /// and its parent. `None`: it is not traced.
    #[must_use]
    pub fn begin(&self, traceparent: Option<&str>) -> Option<(TraceContext, Option<[u8; 8]>)> {
        match traceparent.and_then(parse) {
            Some((parent, true)) => Some((TraceContext { span: draw(), ..parent }, Some(parent.span))),
            Some((_, false)) => None,
            None if self.draws() => Some((fresh(), None)),
            None => None,
        }
    }

    /// Hands a span over, if there is room.
    pub fn tell(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many spans could not be exported.
    pub fn add_dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// So many were.
    pub fn add_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    /// How many spans were exported, and how many dropped.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.exported.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    fn draws(&self) -> bool {
        match u64::from(self.one_in.load(Ordering::Relaxed)) {
            0 => false,
            one_in => self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in),
        }
    }
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Does work that belongs to a traced request: what it asks of a [`Handle`](crate::Handle) becomes part of the trace.
pub async fn within<F: Future>(context: TraceContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// What this task's work belongs to.
pub(crate) fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// The beginning of a trace of its own.
#[must_use]
pub fn fresh() -> TraceContext {
    TraceContext { trace: draw(), span: draw() }
}

/// A `traceparent` of W3C, and whether it is sampled; `None` if it is none.
#[must_use]
pub fn parse(traceparent: &str) -> Option<(TraceContext, bool)> {
    let mut parts = traceparent.trim().split('-');
    let version = hex::<1>(parts.next()?)?[0];
    let (trace, span, flags) = (hex(parts.next()?)?, hex(parts.next()?)?, hex::<1>(parts.next()?)?[0]);
    // A later version may say more behind; the first one does not.
    let is_one = version != 0xff && (version != 0 || parts.next().is_none()) && trace != [0; 16] && span != [0; 8];
    is_one.then_some((TraceContext { trace, span }, flags & 1 == 1))
}

/// As others read it, sampled.
#[must_use]
pub fn traceparent(context: &TraceContext) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("00-{}-{}-01", digits(&context.trace), digits(&context.span))
}

fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let lower = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 2 * N || !lower {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// An id that nobody else draws; all zero means none, and is never drawn in practice.
pub(crate) fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's source of entropy works");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_parsed_as_w3c_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (context, sampled) = parse(good).unwrap();
        assert!(sampled);
        assert_eq!(traceparent(&context), good);
        let other = |from: &str, to: &str| parse(&good.replacen(from, to, 1));
        assert!(!other("-01", "-00").unwrap().1, "not sampled");
        assert!(other("-01", "-03").unwrap().1, "other flags");
        assert!(other("00-", "cc-").is_some() && parse(&format!("cc{}-more", &good[2..])).is_some(), "a later version");
        assert!(parse(&format!("{good}-more")).is_none(), "version 00 has four parts");
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let upper = good.to_uppercase();
        for bad in ["", "00", zero_trace, zero_span, &upper, &format!("ff{}", &good[2..]), &good[..54], "é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn begin_follows_whoever_asked_else_one_in_so_many() {
        let (tracer, _out) = Tracer::new(3);
        let drawn = (0..9).filter(|_| tracer.begin(None).is_some()).count();
        assert_eq!(drawn, 3);
        tracer.set_one_in(0);
        assert_eq!(tracer.begin(None), None);
        let (context, parent) = tracer.begin(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).unwrap();
        assert_eq!(parent, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert_ne!(Some(context.span), parent);
        tracer.set_one_in(1);
        assert_eq!(tracer.begin(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")), None, "who says no");
        assert!(tracer.begin(Some("nonsense")).is_some(), "as if nothing had come");
    }

    #[test]
    fn tell_drops_and_counts_what_does_not_fit() {
        let (tracer, out) = Tracer::new(1);
        let (context, parent) = tracer.begin(None).unwrap();
        let now = SystemTime::now();
        let span =
            Span { context, parent, name: "x", serves: false, start: now, end: now, attributes: vec![], failed: false };
        (0..SPANS_MAX + 3).for_each(|_| tracer.tell(span.clone()));
        assert_eq!(tracer.counts(), (0, 3));
        drop(out);
    }
}
