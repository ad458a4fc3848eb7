//! `/status`, `/ready`: how the node stands.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use hezong_base::{Index, LogId};
use hezong_node::GroupStatus;
use hezong_raft::Role;
use hezong_shell::{NodeTls, Stats};
use hezong_store::Store;
use serde_json::{Value, json};

use crate::error::{Failure, refused};
use crate::members::{list_of, stands};
use crate::query::Params;
use crate::{Answer, Serving, tell};

/// `GET /status`.
pub(crate) async fn status<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let status = stands(serving).await?;
    let stats = serving.api.node.stats().await.map_err(|error| refused(&error.0, "/"))?;
    let view = serving.api.keys.view().map_err(crate::keys::broken(serving))?;
    let api = &serving.api;
    let identity = api.node.identity();
    let raft = &status.raft;
    let mut list = list_of(&status, &raft.membership);
    let leader = raft.leader.and_then(|id| raft.membership.members().get(&id).map(|member| (id, member)));
    let mut reply = json!({
        "clusterId": identity.cluster.to_string(),
        "nodeId": identity.node.0,
        "id": identity.label,
        "httpAddr": api.http,
        "raftAddr": api.peer,
        "version": api.version,
        "clusterVersion": raft.membership.version().0,
        "usedVersion": raft.membership.used().0,
        "uptimeSeconds": serving.started.elapsed().as_secs(),
        "role": role(raft.role),
        "suffrage": suffrage(&status),
        "removed": is_removed(&status, &stats),
        "term": raft.term.0,
        "votedFor": raft.vote.map(|id| id.0),
        "leader": leader.map(|(id, member)| json!({ "nodeId": id.0, "id": member.name, "httpAddr": member.client })),
        "lastContactMs": raft.last_contact.map(millis),
        "leaseMs": raft.lease.map(millis),
        "transferringTo": raft.transfer.map(|id| id.0),
        "applyPending": status.apply_pending,
        "uncommittedBytes": raft.uncommitted_bytes,
        "writesWaiting": status.accepted,
        "readsWaiting": status.reads_waiting,
        "diskBelowReserve": status.disk_full,
        "certificateEnded": api.tls.as_ref().map(NodeTls::has_ended),
        "revision": view.revision().0,
        "keys": view.keys(),
        "sessions": view.sessions(),
        "idempotencyKeys": view.once(),
        "progress": progress(&status),
        "connected": stats.connected.iter().map(|id| id.0).collect::<Vec<_>>(),
        "joint": raft.membership.is_joint(),
        "members": list["members"].take(),
        "stats": hashicorp(&status),
    });
    reply.as_object_mut().expect("made just now").extend(log(&status));
    let mut response = crate::json(format!("{reply}\n").into_bytes());
    tell(response.headers_mut(), view.index().map(|index| index.0), view.revision().0);
    Ok(response)
}

/// How far its log and its state are.
fn log(status: &GroupStatus) -> serde_json::Map<String, Value> {
    let raft = &status.raft;
    let Value::Object(log) = json!({
        "lastIndex": index_of(raft.last),
        "lastTerm": raft.last.map_or(0, |last| last.term.0),
        "storedIndex": number(raft.stored),
        "commitIndex": number(raft.committed),
        "appliedIndex": index_of(status.applied),
        "durableIndex": index_of(status.durable),
        "firstIndex": index_of(raft.base) + 1,
        "owedIndex": raft.owed.map(|owed| owed.index.0),
        "membershipIndex": number(raft.membership_index),
        "membershipCommitted": raft.membership_committed,
    }) else {
        unreachable!("an object was written down")
    };
    log
}

/// The fields of hashicorp/raft's `Stats`, under its names and as texts, for tools that know them.
fn hashicorp(status: &GroupStatus) -> Value {
    let raft = &status.raft;
    let last_contact = match (raft.role, raft.last_contact) {
        (Role::Leader, _) => "0".to_owned(),
        (_, None) => "never".to_owned(),
        (_, Some(span)) => format!("{span:?}"),
    };
    let state = match raft.role {
        Role::Follower => "Follower",
        Role::PreCandidate | Role::Candidate => "Candidate",
        Role::Leader => "Leader",
    };
    let members: Vec<Value> = raft
        .membership
        .members()
        .iter()
        .map(|(id, member)| {
            let suffrage = if raft.membership.is_voter(*id) { "Voter" } else { "Nonvoter" };
            json!({ "Suffrage": suffrage, "ID": member.name, "Address": member.peer })
        })
        .collect();
    let others = raft.membership.voters().iter().filter(|id| **id != raft.id).count();
    json!({
        "state": state,
        "term": raft.term.0.to_string(),
        "last_log_index": index_of(raft.last).to_string(),
        "last_log_term": raft.last.map_or(0, |last| last.term.0).to_string(),
        "commit_index": number(raft.committed).to_string(),
        "applied_index": index_of(status.applied).to_string(),
        "fsm_pending": status.apply_pending.to_string(),
        "last_snapshot_index": index_of(raft.base).to_string(),
        "last_snapshot_term": raft.base.map_or(0, |base| base.term.0).to_string(),
        "protocol_version": raft.membership.version().to_string(),
        "protocol_version_min": raft.membership.used().to_string(),
        "protocol_version_max": status.versions.get(&raft.id).copied().unwrap_or_default().to_string(),
        "snapshot_version_min": "0",
        "snapshot_version_max": "0",
        "latest_configuration": members,
        "latest_configuration_index": number(raft.membership_index).to_string(),
        "last_contact": last_contact,
        "num_peers": others.to_string(),
    })
}

fn progress(status: &GroupStatus) -> Vec<Value> {
    let others = status.raft.progress.iter();
    others
        .map(|(id, stored, heard)| {
            json!({ "nodeId": id.0, "storedIndex": number(*stored), "lastContactMs": heard.map(millis) })
        })
        .collect()
}

/// `GET /ready`: whether requests sent here are likely to be served.
pub(crate) async fn ready<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let status = stands(serving).await?;
    let stats = serving.api.node.stats().await.map_err(|error| refused(&error.0, "/"))?;
    if is_removed(&status, &stats) {
        let message = "not ready: this node was removed from its cluster and knows nothing of what was written since; \
            stop it, or empty its folder and start it with --join to bring it back as a new member";
        return Err(Failure::unavailable("removed", message));
    }
    if serving.api.tls.as_ref().is_some_and(NodeTls::has_ended) {
        let message = "not ready: the certificate of this node has ended, and clients refuse it; put a new one in its place, which \
            is taken into use without a restart";
        return Err(Failure::unavailable("certificate_ended", message));
    }
    let raft = &status.raft;
    if raft.membership_committed && raft.membership.has_left(raft.id) {
        let message = "not ready: this node was removed from the cluster; stop it, and join with an empty folder";
        return Err(Failure::unavailable("removed", message));
    }
    if let Some(owed) = raft.owed {
        let last = index_of(raft.last);
        let message = format!(
            "not ready: the log was damaged and ends with {last}; what follows, up to {} at most, must come from a leader; \
             start the other members, one of which has it",
            owed.index.0
        );
        return Err(Failure::unavailable("log_incomplete", message));
    }
    if raft.leader.is_none() {
        return Err(Failure::unavailable("no_leader", "not ready: no leader is known; wait, or look at /status"));
    }
    let (applied, committed) = (index_of(status.applied), number(raft.committed));
    if status.applied.is_none() || committed.saturating_sub(applied) > READY_LAG_MAX {
        let message = format!("not ready: {applied} of {committed} entries are applied; wait until it has caught up");
        return Err(Failure::unavailable("catching_up", message));
    }
    Ok(crate::json(b"{\"status\":\"ready\"}\n".to_vec()))
}

/// How many committed entries a ready node may lag behind: less than a second of heavy load.
const READY_LAG_MAX: u64 = 10_000;

/// A role's name.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// Whether this node is no member any more: because a member said so, or its own log does.
fn is_removed(status: &GroupStatus, stats: &Stats) -> bool {
    let (id, membership) = (status.raft.id, &status.raft.membership);
    let known = Some(id) <= membership.last_id() && !membership.members().contains_key(&id);
    stats.removed_by.is_some() || (known && status.raft.membership_committed)
}

/// What this node's voice counts.
fn suffrage(status: &GroupStatus) -> &'static str {
    let (id, membership) = (status.raft.id, &status.raft.membership);
    if membership.voters().contains(&id) {
        "voter"
    } else if membership.is_voter(id) {
        "leaving"
    } else if membership.members().contains_key(&id) {
        "learner"
    } else {
        "none"
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// An index as tools expect it: 0 before the first.
pub(crate) fn number(index: Option<Index>) -> u64 {
    index.map_or(0, |index| index.0)
}

/// The index of a log id, likewise.
pub(crate) fn index_of(id: Option<LogId>) -> u64 {
    number(id.map(|id| id.index))
}
