//! `/metrics` in the text format of Prometheus, written by hand: what is counted here, and what the node tells of
//! itself. Each metric's help says its unit.

use std::array;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use hezong_node::GroupStatus;
use hezong_raft::Role;
use hezong_shell::{BUCKETS_MICROS, HistogramSnapshot, NodeTls, Stats};
use hezong_store::Store;

use crate::error::refused;
use crate::members::stands;
use crate::query::Params;
use crate::stands::{index_of, number};
use crate::{Answer, Serving};

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Get,
    Scan,
    Set,
    Put,
    Add,
    Delete,
    Session,
    Join,
    Remove,
    Change,
    Transfer,
    Members,
    Backup,
    Status,
    Metrics,
    Ready,
    Debug,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        OPERATIONS[self as usize]
    }
}

const OPERATIONS: [&str; 17] = [
    "get", "scan", "set", "put", "add", "delete", "session", "join", "remove", "change", "transfer", "members",
    "backup", "status", "metrics", "ready", "debug",
];
/// Status classes, from 2xx to 5xx.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What is counted here. Relaxed throughout: nobody concludes anything from one counter about another.
#[derive(Debug)]
pub(crate) struct Metrics {
    operations: [Counts; OPERATIONS.len()],
}

#[derive(Debug, Default)]
struct Counts {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { operations: array::from_fn(|_| Counts::default()) }
    }
}

impl Metrics {
    /// Counts one request.
    pub(crate) fn observe(&self, operation: Operation, status: StatusCode, took: Duration) {
        let counts = &self.operations[operation as usize];
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        counts.classes[class].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.partition_point(|bound| *bound < seconds);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(crate) async fn show<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let status = stands(serving).await?;
    let stats = serving.api.node.stats().await.map_err(|error| refused(&error.0, "/"))?;
    let view = serving.api.keys.view().map_err(crate::keys::broken(serving))?;
    let mut text = Text::default();
    text.head("hezong_build_info", "gauge", "1, with the version that runs.");
    text.push(format_args!("hezong_build_info{{version=\"{}\"}} 1\n", serving.api.version));
    text.requests(&serving.metrics);
    text.keys(view.revision().0, view.keys(), view.sessions(), view.once());
    text.group(&status);
    text.node(&stats);
    let help = "1 if the state was found damaged and made anew when the node started, else 0.";
    text.gauge("hezong_state_repaired", help, u8::from(serving.api.state_repaired));
    let help = "1 if the state was found damaged since the node started, and it still serves what is whole, else 0.";
    text.gauge("hezong_state_damaged", help, u8::from(serving.api.node.state_damage().is_some()));
    if let Some(end) = serving.api.tls.as_ref().and_then(NodeTls::valid_until) {
        let end = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let help = "When the certificate in use expires, in seconds since 1970.";
        text.gauge("hezong_certificate_expires_timestamp_seconds", help, end);
    }
    let mut response = Response::new(Body::from(text.0));
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    Ok(response)
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn push(&mut self, line: impl Display) {
        write!(self.0, "{line}").expect("writing to a String does not fail");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.push(format_args!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.push(format_args!("{name} {value}\n"));
    }

    fn requests(&mut self, metrics: &Metrics) {
        let operations = || OPERATIONS.iter().zip(&metrics.operations);
        self.head("hezong_http_requests_total", "counter", "Requests answered, by operation and class of status.");
        for (name, counts) in operations() {
            for (class, count) in CLASSES.iter().zip(&counts.classes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format_args!("{{operation=\"{name}\",status=\"{class}\"}}");
                    self.push(format_args!("hezong_http_requests_total{labels} {count}\n"));
                }
            }
        }
        let name = "hezong_http_request_seconds";
        self.head(name, "histogram", "How long requests took from their head to their reply, in seconds.");
        for (operation, counts) in operations() {
            let buckets: Vec<u64> = counts.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let sum = Duration::from_nanos(counts.sum_nanos.load(Ordering::Relaxed));
            if buckets.iter().any(|count| *count > 0) {
                self.histogram(name, &format!("operation=\"{operation}\","), &BUCKETS, &buckets, sum);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, bounds: &[f64], buckets: &[u64], sum: Duration) {
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(buckets) {
            below += count;
            self.push(format_args!("{name}_bucket{{{labels}le=\"{bound}\"}} {below}\n"));
        }
        let all: u64 = buckets.iter().sum();
        self.push(format_args!("{name}_bucket{{{labels}le=\"+Inf\"}} {all}\n"));
        let labels = labels.trim_end_matches(',');
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.push(format_args!("{name}_sum{labels} {}\n{name}_count{labels} {all}\n", sum.as_secs_f64()));
    }

    fn keys(&mut self, revision: u64, keys: u64, sessions: u64, once: u64) {
        self.gauge("hezong_keys", "Keys held.", keys);
        self.gauge("hezong_revision", "How many commands have changed keys.", revision);
        self.gauge("hezong_sessions", "Sessions open.", sessions);
        self.gauge("hezong_idempotency_keys", "Idempotency keys remembered.", once);
    }

    fn group(&mut self, status: &GroupStatus) {
        let raft = &status.raft;
        self.gauge("hezong_raft_term", "Raft's term.", raft.term.0);
        self.gauge("hezong_raft_is_leader", "1 on the leader, else 0.", u8::from(raft.role == Role::Leader));
        self.gauge("hezong_raft_has_leader", "1 while a leader is known, else 0.", u8::from(raft.leader.is_some()));
        self.gauge("hezong_raft_voters", "Members that vote.", raft.membership.voters().len());
        self.gauge("hezong_raft_members", "Members, learners included.", raft.membership.members().len());
        let membership = &raft.membership;
        self.gauge("hezong_cluster_version", "The version that all members know.", membership.version());
        self.gauge("hezong_used_version", "The version in use, behind which no member can go.", membership.used());
        self.gauge("hezong_raft_last_index", "Index of the last log entry.", index_of(raft.last));
        self.gauge("hezong_raft_stored_index", "Index of the last log entry on disk.", number(raft.stored));
        self.gauge("hezong_raft_commit_index", "Index of the last committed entry.", number(raft.committed));
        self.gauge("hezong_applied_index", "Index of the last applied entry.", index_of(status.applied));
        self.gauge("hezong_durable_index", "Index of the last entry durable in the state.", index_of(status.durable));
        self.gauge("hezong_log_base_index", "Index of the last entry that the log let go.", index_of(raft.base));
        self.gauge("hezong_snapshots_held", "Snapshots held for members to fetch.", status.snapshots_held);
        self.gauge(
            "hezong_snapshot_fetching",
            "1 while a snapshot is fetched, else 0.",
            u8::from(status.snapshot_fetching),
        );
        self.gauge("hezong_restoring", "1 while a lost state is fetched, else 0.", u8::from(status.restoring));
        let help = "1 while entries are missing that the log held before it was damaged, else 0.";
        self.gauge("hezong_log_incomplete", help, u8::from(raft.owed.is_some()));
        self.counter("hezong_snapshots_installed_total", "Snapshots installed.", status.snapshots_installed);
        self.counter("hezong_snapshot_sent_bytes_total", "Bytes of snapshots sent.", status.snapshot_bytes_sent);
        let received = status.snapshot_bytes_received;
        self.counter("hezong_snapshot_received_bytes_total", "Bytes of snapshots received.", received);
        self.gauge("hezong_apply_pending", "Entries committed and not yet applied.", status.apply_pending);
        let bytes = raft.uncommitted_bytes;
        self.gauge("hezong_raft_uncommitted_bytes", "Payload proposed and not yet committed, in bytes.", bytes);
        self.gauge("hezong_writes_waiting", "Writes whose outcome is open.", status.accepted);
        self.gauge("hezong_reads_waiting", "Reads that wait for something to be applied.", status.reads_waiting);
        self.gauge(
            "hezong_disk_below_reserve",
            "1 while writes are refused for want of disk.",
            u8::from(status.disk_full),
        );
        if let Some(span) = raft.last_contact {
            let help = "How long ago the leader, or on a leader a majority, was last heard from, in seconds.";
            self.gauge("hezong_raft_last_contact_seconds", help, span.as_secs_f64());
        }
    }

    fn node(&mut self, stats: &Stats) {
        let (node, own) = (&stats.node, &stats.metrics);
        self.gauge("hezong_peers_connected", "Peers connected.", stats.connected.len());
        self.gauge("hezong_requests_waiting", "Clients that wait for the node.", node.waiting);
        self.gauge("hezong_inbox_bytes", "Bytes that wait for the node's thread.", own.inbox_bytes);
        self.gauge("hezong_log_queue", "Batches that wait for the log's thread.", own.log_queue);
        self.gauge("hezong_apply_queue", "Batches of entries that wait to be applied.", own.apply_queue);
        self.counter(
            "hezong_proposals_total",
            "Commands proposed by clients here, refused ones included.",
            node.proposals,
        );
        self.counter("hezong_reads_total", "Reads asked for here, stale ones too, refused ones included.", node.reads);
        self.head("hezong_refused_total", "counter", "Requests certainly not done, by reason.");
        for (reason, count) in &node.refused {
            self.push(format_args!("hezong_refused_total{{reason=\"{reason}\"}} {count}\n"));
        }
        self.counter("hezong_unknown_total", "Requests whose outcome stayed unknown.", node.unknown);
        self.counter("hezong_applied_total", "Entries applied.", own.applied);
        self.counter("hezong_persists_total", "Times that the state was made durable.", own.persists);
        self.counter("hezong_log_batches_total", "Batches written to the log.", own.log_batches);
        self.counter("hezong_log_writes_total", "Writes in these batches.", own.log_writes);
        self.counter("hezong_log_reads_total", "Times that entries were read back from the log.", own.log_reads);
        let help = "Bytes of the log read again to find damage.";
        self.counter("hezong_log_scrubbed_bytes_total", help, own.log_scrubbed_bytes);
        let help = "Bytes of the state read again to find damage.";
        self.counter("hezong_state_scrubbed_bytes_total", help, own.state_scrubbed_bytes);
        let help = "1 if the log was found damaged and repaired when the node started, else 0.";
        self.gauge("hezong_log_repaired", help, own.log_repairs);
        self.counter("hezong_peer_frames_sent_total", "Frames sent to peers.", own.frames_sent);
        self.counter("hezong_peer_sent_bytes_total", "Bytes sent to peers.", own.bytes_sent);
        self.counter("hezong_peer_frames_received_total", "Frames received from peers.", own.frames_received);
        self.counter("hezong_peer_received_bytes_total", "Bytes received from peers.", own.bytes_received);
        let help = "Frames dropped because a peer was not connected or its queue full.";
        self.counter("hezong_peer_frames_dropped_total", help, own.frames_unsent + own.frames_dropped);
        self.counter("hezong_peer_connections_total", "Connections made with peers.", own.connections);
        self.counter("hezong_peer_disconnections_total", "Connections with peers lost.", own.disconnections);
        self.counter("hezong_peer_refused_total", "Handshakes refused.", own.handshakes_refused);
        self.counter("hezong_peer_garbage_total", "Connections closed because no frames came over them.", own.garbage);
        self.counter("hezong_peer_dropped_total", "Messages of peers dropped as nonsense.", node.dropped);
        self.head("hezong_slow_steps_total", "counter", "Steps that took longer than log.slow_step, by kind.");
        for (step, count) in &own.slow {
            self.push(format_args!("hezong_slow_steps_total{{step=\"{step}\"}} {count}\n"));
        }
        let (exported, dropped) = own.spans;
        self.head("hezong_spans_total", "counter", "Spans of traced requests, by what became of them.");
        for (outcome, count) in [("exported", exported), ("dropped", dropped)] {
            self.push(format_args!("hezong_spans_total{{outcome=\"{outcome}\"}} {count}\n"));
        }
        let HistogramSnapshot { buckets, sum } = &own.log_sync;
        let bounds: Vec<f64> =
            BUCKETS_MICROS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64()).collect();
        let name = "hezong_log_sync_seconds";
        self.head(name, "histogram", "How long each fdatasync of the log took, in seconds.");
        self.histogram(name, "", &bounds, buckets, *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cumulative_and_complete() {
        let metrics = Metrics::default();
        metrics.observe(Operation::Put, StatusCode::OK, Duration::from_micros(300));
        metrics.observe(Operation::Put, StatusCode::OK, Duration::from_secs(9));
        metrics.observe(Operation::Ready, StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO);
        let mut text = Text::default();
        text.requests(&metrics);
        for line in [
            "hezong_http_requests_total{operation=\"put\",status=\"2xx\"} 2",
            "hezong_http_requests_total{operation=\"ready\",status=\"5xx\"} 1",
            "hezong_http_request_seconds_bucket{operation=\"put\",le=\"0.00025\"} 0",
            "hezong_http_request_seconds_bucket{operation=\"put\",le=\"0.0005\"} 1",
            "hezong_http_request_seconds_bucket{operation=\"put\",le=\"+Inf\"} 2",
            "hezong_http_request_seconds_count{operation=\"put\"} 2",
        ] {
            assert!(text.0.lines().any(|other| other == line), "{line} is missing in\n{}", text.0);
        }
    }
}
