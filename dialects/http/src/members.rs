//! `/join`, `/remove`, `/change`, `/transfer` and `/members`.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use hezong_base::NodeId;
use hezong_node::{GroupStatus, Refused};
use hezong_raft::{ChangeError as Step, Member, Membership, Role, Status, TransferError as Unfit};
use hezong_shell::{ChangeError, TransferError};
use hezong_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Failure, refused};
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
    let document = body::document(head, body, &serving.api.limits).await?;
    let join: Join = body::fields(&document, &["id", "httpAddr", "raftAddr", "clusterId", "replace"])?;
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
    let (id, membership) =
        match taken_in(&status.raft, &member).map_err(|pending| refused(&pending, path_and_query(head)))? {
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

/// The id of a node that was taken in already and whose reply was lost: everything is the same, and it has never held
/// an entry. One that has is a live member, or one that lost its disk, whose number must not be used again: what it
/// once acknowledged would be believed of an empty log.
fn taken_in(raft: &Status, member: &Member) -> Result<Option<NodeId>, Refused> {
    let Some((id, _)) = raft.membership.members().iter().find(|(_, other)| *other == member) else { return Ok(None) };
    let Some(progress) = raft.progress.iter().find(|(other, ..)| other == id) else { return Ok(None) };
    if raft.membership.is_voter(*id) || progress.1.is_some() {
        return Ok(None);
    }
    // Only a number that is committed may be told: a leader that falls takes an uncommitted member with it, and its
    // successor gives the same number to somebody else. Two nodes of one number would vote twice.
    if raft.membership_committed { Ok(Some(*id)) } else { Err(Refused::ChangePending) }
}

/// Removes the member that had this label before, if it is lost: the newcomer has its label, and an empty disk. What the
/// lost one acknowledged is on no disk any more, so its number goes with it.
async fn let_lost_go<S: Store>(serving: &Serving<S>, head: &Parts, raft: &Status, label: &str) -> Result<(), Failure> {
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

/// `POST /remove`: lets a member go for good.
pub(crate) async fn remove<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.api.limits).await?;
    let remove: Remove = body::fields(&document, &["id", "nodeId"])?;
    let status = leading(serving, head).await?;
    let members = &status.raft.membership;
    let id = match (&remove.id, remove.node_id) {
        (Some(label), None) => called(members, label)?,
        (None, Some(number)) if members.members().contains_key(&NodeId(number)) => NodeId(number),
        (None, Some(number)) => return Err(nobody_called(&number.to_string())),
        _ => return Err(Failure::bad("bad_field", "name the member by id or by nodeId; give one of the two")),
    };
    serving.api.node.remove(serving.api.group, id).await.map_err(|error| changed(error, head))?;
    let status = stands(serving).await?;
    respond(serving, &status, list_of(&status, &status.raft.membership))
}

/// `POST /change`: lets several learners vote and several members go, all at once.
pub(crate) async fn change<S: Store>(serving: &Serving<S>, head: &Parts, body: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
    let document = body::document(head, body, &serving.api.limits).await?;
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
    let document = body::document(head, body, &serving.api.limits).await?;
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

/// `GET /members`, as this node knows them.
pub(crate) async fn list<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    Params::parse(head.uri.query(), &[])?;
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
    let leader = status.raft.leader.and_then(|id| status.raft.membership.members().get(&id));
    Err(match leader {
        Some(leader) => Failure::redirect(&leader.client, path_and_query(head)),
        None => refused(&Refused::NotLeader(None), path_and_query(head)),
    })
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
    let revision = serving.api.keys.view().map_err(crate::keys::broken)?.revision();
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

    /// A leader, node 1, that is taking `member` in as node 2.
    fn leader_taking_in(member: &Member) -> Status {
        let founder = Member { name: "node01".into(), peer: "host1:8089".into(), client: "host1:8091".into() };
        let founded = Membership::of_voters([(NodeId(1), founder)]);
        Status {
            id: NodeId(1),
            role: Role::Leader,
            term: hezong_base::Term(1),
            vote: Some(NodeId(1)),
            leader: Some(NodeId(1)),
            last: None,
            base: None,
            committed: None,
            stored: None,
            applied: None,
            membership: founded.change(&hezong_raft::Change::Add(member.clone())).unwrap(),
            membership_index: Some(hezong_base::Index(2)),
            membership_committed: false,
            last_contact: None,
            lease: None,
            transfer: None,
            progress: vec![(NodeId(2), None, None)],
            silent: Vec::new(),
            uncommitted_bytes: 0,
            dropped: 0,
            asks: Vec::new(),
        }
    }

    #[test]
    fn taken_in_is_told_only_once_it_is_committed() {
        let member = Member { name: "node02".into(), peer: "host2:8089".into(), client: "host2:8091".into() };
        let mut leader = leader_taking_in(&member);
        assert_eq!(taken_in(&leader, &member), Err(Refused::ChangePending), "a new leader may give 2 to another");
        leader.membership_committed = true;
        assert_eq!(taken_in(&leader, &member), Ok(Some(NodeId(2))));
        let other = Member { peer: "host3:8089".into(), ..member.clone() };
        assert_eq!(taken_in(&leader, &other), Ok(None));
        leader.progress[0].1 = Some(hezong_base::Index(2));
        assert_eq!(taken_in(&leader, &member), Ok(None), "it has held entries; an empty disk must not take its number");
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
