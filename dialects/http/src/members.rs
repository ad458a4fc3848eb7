//! `/join`, `/remove`, `/change`, `/transfer` and `/members`.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use hezong_base::NodeId;
use hezong_node::{GroupStatus, Refused};
use hezong_raft::{ChangeError as Step, Member, Membership, Role, TransferError as Unfit};
use hezong_shell::{ChangeError, TransferError};
use hezong_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Failure, refused};
use crate::keys::readable;
use crate::query::Params;
use crate::stands::{index_of, number};
use crate::{Answer, Serving, body, path_and_query, tell};

const LABEL_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Join {
    id: String,
    http_addr: String,
    raft_addr: String,
    cluster_id: Option<String>,
    #[serde(default)]
    replace: bool,
    /// The newest version it knows; without it the first.
    version: Option<u8>,
}

/// A member as a request names it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Label(String),
    Number(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Several {
    #[serde(default)]
    promote: Vec<Name>,
    #[serde(default)]
    remove: Vec<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    id: Option<String>,
    node_id: Option<u64>,
}

#[derive(Deserialize)]
struct Transfer {
    to: Option<String>,
}

/// `POST /join`: takes a node in as a learner, which becomes a voter by itself once it has caught up.
pub(crate) async fn join<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.limits()).await?;
    let join: Join = body::fields(&document, &["id", "httpAddr", "raftAddr", "clusterId", "replace", "version"])?;
    let member = checked(&join)?;
    let status = leading(serving, head).await?;
    let cluster = serving.api.node.identity().cluster.to_string();
    if let Some(other) = join.cluster_id.filter(|other| *other != cluster) {
        let message = format!(
            "{} belongs to cluster {other}, and this is {cluster}; start it with an empty folder to join here",
            member.name
        );
        return Err(Failure::new(StatusCode::CONFLICT, "other_cluster", message));
    }
    let used = status.raft.membership.used().0;
    let known = join.version.unwrap_or(1);
    if known < used {
        let message = format!(
            "{} knows versions up to {known}, and cluster version {used} is in use here; join with a program that knows it",
            member.name
        );
        return Err(Failure::new(StatusCode::CONFLICT, "version", message));
    }
    let (id, membership) = match status.taken_in(&member).map_err(|pending| refused(&pending, path_and_query(head)))? {
        Some(id) => (id, status.raft.membership.clone()),
        None => {
            if join.replace {
                let_lost_go(serving, head, &status.raft, &member.name).await?;
            }
            add(serving, head, member).await?
        }
    };
    let status = stands(serving).await?;
    let mut reply = list_of(&status, &membership);
    reply["nodeId"] = json!(id.0);
    respond(serving, &status, reply)
}

/// Removes the member that had this label before, if it is lost: the newcomer has its label, and an empty disk. What the
/// lost one acknowledged is on no disk any more, so its number goes with it.
async fn let_lost_go<S: Store>(
    serving: &Serving<S>,
    head: &Parts,
    raft: &hezong_raft::Status,
    label: &str,
) -> Result<(), Failure> {
    let Some((id, _)) = raft.membership.members().iter().find(|(_, member)| member.name == label) else {
        return Ok(());
    };
    if !raft.silent.contains(id) {
        let message = format!(
            "{label} is member {} and was heard a moment ago, so it is not lost; stop it first, or choose another label",
            id.0
        );
        return Err(Failure::unavailable("member_alive", message));
    }
    serving.api.node.remove(serving.api.group, *id).await.map_err(|error| changed(error, head))
}

async fn add<S: Store>(serving: &Serving<S>, head: &Parts, member: Member) -> Result<(NodeId, Membership), Failure> {
    let name = member.name.clone();
    let id = serving.api.node.add_learner(serving.api.group, member).await.map_err(|error| match error {
        ChangeError::Refused(Refused::Change(Step::Taken(id))) => {
            let message = format!(
                "the label {name} or one of the addresses belongs to member {}; choose others, or if that node is lost for \
                 good join with --replace (\"replace\":true), or remove it first: POST /remove {{\"nodeId\":{}}}",
                id.0, id.0
            );
            Failure::new(StatusCode::CONFLICT, "member_taken", message)
        }
        error => changed(error, head),
    })?;
    let membership = stands(serving).await?.raft.membership;
    Ok((id, membership))
}

/// `POST /remove`: lets a member go for good. By its number it may be repeated: a number that is gone stays gone.
pub(crate) async fn remove<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.limits()).await?;
    let remove: Remove = body::fields(&document, &["id", "nodeId"])?;
    let status = leading(serving, head).await?;
    let status = match meant(&status.raft.membership, status.raft.membership_committed, &remove, head)? {
        None => status,
        Some(id) => {
            match serving.api.node.remove(serving.api.group, id).await {
                // Another copy of the request was quicker: what it asks for is done.
                Ok(()) | Err(ChangeError::Refused(Refused::Change(Step::Unknown(_)))) => {}
                Err(error) => return Err(changed(error, head)),
            }
            stands(serving).await?
        }
    };
    respond(serving, &status, list_of(&status, &status.raft.membership))
}

/// Which member is to go; `None` if it has gone already.
fn meant(membership: &Membership, committed: bool, remove: &Remove, head: &Parts) -> Result<Option<NodeId>, Failure> {
    let nobody = |name: &str| {
        let message = format!("no member is called {name}; see GET /members");
        Failure::new(StatusCode::NOT_FOUND, "no_such_member", message)
    };
    let members = membership.members();
    let (label, id) = match (&remove.id, remove.node_id.map(NodeId)) {
        (label, Some(id)) => (label, id),
        (Some(label), None) => {
            let found = members.iter().find(|(_, member)| member.name == *label);
            return found.map(|(id, _)| Some(*id)).ok_or_else(|| nobody(label));
        }
        (None, None) => {
            return Err(Failure::bad(
                "bad_field",
                "name the member by id or by nodeId; give both to be sure whom you mean",
            ));
        }
    };
    match members.get(&id) {
        Some(member) if label.as_ref().is_none_or(|label| *label == member.name) => Ok(Some(id)),
        Some(member) => {
            let (name, label) = (&member.name, label.as_deref().unwrap_or_default());
            let message = format!("member {} is called {name}, not {label}; look at GET /members whom you mean", id.0);
            Err(Failure::new(StatusCode::CONFLICT, "member_differs", message))
        }
        // Numbers are given in order and never twice, so this one was given and taken back; if that is not committed,
        // it may yet come to nothing.
        None if (Some(NodeId(1))..=membership.last_id()).contains(&Some(id)) => match committed {
            true => Ok(None),
            false => Err(refused(&Refused::ChangePending, path_and_query(head))),
        },
        None => Err(nobody(&id.0.to_string())),
    }
}

/// `POST /change`: lets several learners vote and several members go, all at once.
pub(crate) async fn change<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.limits()).await?;
    let several: Several = body::fields(&document, &["promote", "remove"])?;
    if several.promote.is_empty() && several.remove.is_empty() {
        return Err(Failure::bad("bad_field", "name at least one member, in promote or in remove"));
    }
    let status = leading(serving, head).await?;
    let members = &status.raft.membership;
    let (mut promote, mut remove) = (Vec::new(), Vec::new());
    // What is so already is not done again: the request may be a repetition.
    for name in &several.promote {
        let id = named(members, name)?.ok_or_else(|| nobody_called(&shown(name)))?;
        promote.extend((!members.voters().contains(&id)).then_some(id));
    }
    for name in &several.remove {
        remove.extend(named(members, name)?);
    }
    if !promote.is_empty() || !remove.is_empty() {
        let wanted = promote.clone();
        let outcome = serving.api.node.change_several(serving.api.group, promote, remove).await;
        if let Err(ChangeError::Refused(Refused::Timeout)) = outcome {
            return Err(still_behind(&stands(serving).await?, &wanted));
        }
        outcome.map_err(|error| changed(error, head))?;
    }
    let status = stands(serving).await?;
    respond(serving, &status, list_of(&status, &status.raft.membership))
}

/// Who is meant; `None` for one that was a member and is none any more.
fn named(members: &Membership, name: &Name) -> Result<Option<NodeId>, Failure> {
    match name {
        Name::Label(label) => called(members, label).map(Some),
        Name::Number(number) if members.members().contains_key(&NodeId(*number)) => Ok(Some(NodeId(*number))),
        Name::Number(number) if members.has_left(NodeId(*number)) => Ok(None),
        Name::Number(number) => Err(nobody_called(&number.to_string())),
    }
}

fn shown(name: &Name) -> String {
    match name {
        Name::Label(label) => label.clone(),
        Name::Number(number) => number.to_string(),
    }
}

/// Says how far those have got that are to vote and have not caught up.
fn still_behind(status: &GroupStatus, wanted: &[NodeId]) -> Failure {
    let raft = &status.raft;
    let far = raft.progress.iter().filter(|(id, ..)| wanted.contains(id)).map(|(id, holds, _)| {
        let name = raft.membership.members().get(id).map_or("", |member| member.name.as_str());
        format!("{name} holds {} of {} entries", number(*holds), index_of(raft.last))
    });
    let far = far.collect::<Vec<_>>().join(", ");
    Failure::unavailable("catching_up", format!("nothing was changed yet: {far}; send the same request again"))
}

/// `POST /transfer`: has another voter lead.
pub(crate) async fn transfer<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.limits()).await?;
    let transfer: Transfer =
        if document.is_empty() { Transfer { to: None } } else { body::fields(&document, &["to"])? };
    let status = leading(serving, head).await?;
    let to = transfer.to.map(|label| called(&status.raft.membership, &label)).transpose()?;
    match serving.api.node.transfer(serving.api.group, to).await {
        Ok(_) => {}
        // What was wished is so; perhaps an earlier copy of this request did it.
        Err(TransferError::Refused(Refused::Transfer(Unfit::Leads(_)))) => {}
        Err(TransferError::Refused(refusal)) => return Err(refused(&refusal, path_and_query(head))),
        Err(TransferError::Unknown) => {
            let message = "the outcome is unknown: look at GET /members, then send the same request again";
            return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, "unknown", message));
        }
    }
    let status = stands(serving).await?;
    respond(serving, &status, list_of(&status, &status.raft.membership))
}

/// The member with this label.
fn called(members: &Membership, label: &str) -> Result<NodeId, Failure> {
    let found = members.members().iter().find(|(_, member)| member.name == label);
    found.map(|(id, _)| *id).ok_or_else(|| nobody_called(label))
}

fn nobody_called(name: &str) -> Failure {
    let message = format!("no member is called {name}; see GET /members");
    Failure::new(StatusCode::NOT_FOUND, "no_such_member", message)
}

/// `GET /members`, as this node knows them, or at a read level.
pub(crate) async fn list<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &["level"])?;
    if params.bytes("level").is_some() {
        readable(serving, head, &params).await?;
    }
    let status = stands(serving).await?;
    respond(serving, &status, list_of(&status, &status.raft.membership))
}

/// Members as JSON.
pub(crate) fn list_of(status: &GroupStatus, membership: &Membership) -> Value {
    let members: Vec<Value> = membership
        .members()
        .iter()
        .map(|(id, member)| {
            let leads = status.raft.leader == Some(*id);
            let suffrage = if membership.voters().contains(id) {
                "voter"
            } else if membership.is_voter(*id) {
                "leaving"
            } else {
                "learner"
            };
            // Only the leader knows; of itself it knows it too.
            let reachable = (status.raft.role == Role::Leader).then(|| !status.raft.silent.contains(id));
            json!({
                "nodeId": id.0,
                "id": member.name,
                "httpAddr": member.client,
                "raftAddr": member.peer,
                "suffrage": suffrage,
                "leader": leads,
                "reachable": reachable,
                "version": status.versions.get(id).map(|version| version.0),
            })
        })
        .collect();
    json!({ "leader": status.raft.leader.map(|id| id.0), "joint": membership.is_joint(), "members": members })
}

/// How the group stands here.
pub(crate) async fn stands<S: Store>(serving: &Serving<S>) -> Result<GroupStatus, Failure> {
    serving.api.node.status(serving.api.group).await.map_err(|error| refused(&error.0, "/"))
}

/// The same on the leader; elsewhere the request goes there.
async fn leading<S: Store>(serving: &Serving<S>, head: &Parts) -> Result<GroupStatus, Failure> {
    let status = stands(serving).await?;
    if status.raft.role == Role::Leader {
        return Ok(status);
    }
    Err(refused(&Refused::NotLeader(status.leader), path_and_query(head)))
}

fn changed(error: ChangeError, head: &Parts) -> Failure {
    match error {
        ChangeError::Refused(error) => refused(&error, path_and_query(head)),
        ChangeError::Unknown => {
            let message = "the outcome is unknown: look at GET /members, then send the same request again";
            Failure::new(StatusCode::GATEWAY_TIMEOUT, "unknown", message)
        }
    }
}

fn respond<S: Store>(serving: &Serving<S>, status: &GroupStatus, mut reply: Value) -> Answer {
    reply["clusterId"] = json!(serving.api.node.identity().cluster.to_string());
    let mut response = crate::json(format!("{reply}\n").into_bytes());
    let revision = serving.api.keys.view().map_err(crate::keys::broken(serving))?.revision();
    tell(response.headers_mut(), status.applied.map(|applied| applied.index.0), revision.0);
    Ok(response)
}

fn checked(join: &Join) -> Result<Member, Failure> {
    let label = &join.id;
    if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let message = format!("id {label:?} is no label; write 1 to {LABEL_BYTES_MAX} bytes without spaces, as node02");
        return Err(Failure::bad("bad_field", message));
    }
    for (name, address) in [("httpAddr", &join.http_addr), ("raftAddr", &join.raft_addr)] {
        if let Err(reason) = check_address(address) {
            let message =
                format!("{name} {address:?} cannot be reached by others: {reason}; write host:port, as host2:8091");
            return Err(Failure::bad("bad_field", message));
        }
    }
    Ok(Member { name: label.clone(), peer: join.raft_addr.clone(), client: join.http_addr.clone() })
}

/// Whether other machines could reach this address, by its looks.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn check_address(address: &str) -> Result<(), &'static str> {
    let authority: axum::http::uri::Authority = address.parse().map_err(|_| "it is no address")?;
    if address.contains('@') || authority.host().is_empty() {
        return Err("the host is missing");
    }
    match authority.port_u16() {
        None => return Err("the port is missing"),
        Some(0) => return Err("port 0 is no port"),
        Some(_) => {}
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err("it means every address of this machine"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meant_member_is_gone_only_once_that_is_committed() {
        let member = |n: u64| Member { name: format!("node{n:02}"), ..Member::default() };
        let both = Membership::of_voters([1, 2].map(|n| (NodeId(n), member(n))));
        let one = both.change(&hezong_raft::Change::Remove(NodeId(2))).unwrap();
        let head = axum::http::Request::new(()).into_parts().0;
        let remove = Remove { id: Some("node02".to_owned()), node_id: Some(2) };
        assert_eq!(meant(&both, true, &remove, &head).unwrap(), Some(NodeId(2)));
        assert_eq!(meant(&one, false, &remove, &head).unwrap_err().code, "change_pending", "a new leader may keep it");
        assert_eq!(meant(&one, true, &remove, &head).unwrap(), None);
        let by_label = Remove { node_id: None, ..remove };
        assert_eq!(meant(&one, true, &by_label, &head).unwrap_err().code, "no_such_member");
    }

    #[test]
    fn check_address_wants_host_and_port() {
        for good in ["host1:8091", "127.0.0.1:1", "[::1]:8091"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in ["", "host1", ":8091", "host1:0", "0.0.0.0:8091", "[::]:8091", "host1:99999", "http://a:1/", "a b:1"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
