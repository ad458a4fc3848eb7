//! What each setting does: it becomes an option of the floor it concerns. What is not here, `node.rs` uses itself
//! (addresses, label, folder), or `log.rs` and `spans.rs` do.

use hezong_kv::Limits;
use hezong_node::Tuning;
use hezong_shell::{Options, Start};

use super::Settings;

impl Settings {
    /// Where it listens for clients.
    pub(crate) fn http_bind(&self) -> &str {
        self.http_bind.as_ref().unwrap_or(&self.http)
    }

    /// What the engine is told.
    pub(crate) fn options(&self, start: Start) -> Options {
        let mut options = Options::new(&self.data_dir, self.peer_bind.as_ref().unwrap_or(&self.peer), start);
        options.segment_bytes = self.segment_bytes;
        options.scrub_bytes_per_second = self.scrub_bytes_per_second;
        options.disk_reserve_bytes = self.disk_reserve;
        options.disk_reserve_interval = self.disk_reserve_interval;
        options.inbox_bytes_max = self.inbox_bytes_max;
        options.peer_queue_bytes_max = self.peer_queue_bytes_max;
        options.reconnect_pause_max = self.reconnect_pause_max;
        options.peer_timeout = self.peer_timeout;
        options.shutdown_timeout = self.shutdown_timeout;
        options.slow_step = self.slow_step;

        options.node.tune(self.tuning());
        let node = &mut options.node;
        node.request_timeout = self.request_timeout;
        node.waiting_max = self.waiting_max;
        node.queue_bytes_max = self.queue_bytes_max;
        node.apply_lag_max = self.apply_lag_max;
        node.persist_bytes = self.persist_bytes;
        node.persist_interval = self.persist_interval;
        node.auto_promote = self.auto_promote;
        node.snapshot_chunk_bytes = self.snapshot_chunk_bytes;
        node.snapshot_fetch_timeout = self.snapshot_fetch_timeout;
        node.snapshot_patience = self.snapshot_patience;
        node.snapshot_age_max = self.snapshot_age_max;

        let raft = &mut options.raft;
        raft.election_timeout = self.election_timeout;
        raft.heartbeat_interval = self.heartbeat_interval;
        raft.lease = self.lease;
        raft.clock_drift_ppm = self.clock_drift_ppm;
        raft.store_timeout = self.store_timeout;
        raft.append_bytes_max = self.append_bytes_max;
        raft.window_bytes_max = self.window_bytes_max;
        raft.cache_bytes_max = self.cache_bytes_max;
        raft.uncommitted_bytes_max = self.uncommitted_bytes_max;
        raft.reads_max = self.reads_max;
        raft.snapshot_patience = self.snapshot_patience;
        options
    }

    /// What of the engine may change while the node runs.
    pub(crate) fn tuning(&self) -> Tuning {
        Tuning {
            log_retain_bytes: self.log_retain_bytes,
            log_retain_entries: self.log_retain_entries,
            snapshot_bytes_per_second: self.snapshot_bytes_per_second,
        }
    }

    /// What requests on keys are held to. May change while the node runs.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
            command_keys_max: self.command_keys_max,
            command_bytes_max: self.command_bytes_max,
            session_ttl_min: self.session_ttl_min,
            session_ttl_max: self.session_ttl_max,
            ..Limits::default()
        }
    }
}
