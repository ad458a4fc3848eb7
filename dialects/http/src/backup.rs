//! `GET /backup`: the whole state as of one moment, as a stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use hezong_base::NodeId;
use hezong_kv::{BackupMember, BackupWriter, Header, KvError, KvView};
use hezong_raft::Member;
use hezong_shell::Handle;
use hezong_store::{Store, View};
use http_body_util::channel::{Channel, Sender};

use crate::error::Failure;
use crate::keys::{broken, readable, tell_damage};
use crate::members::stands;
use crate::query::Params;
use crate::{Answer, Serving, tell};

/// About how much is read and sent at once. One such chunk is on its way and one is being read: that is all the memory a
/// backup takes.
const CHUNK_BYTES: usize = 1 << 20;
/// How long whoever takes the backup may take none of it. What the view sees cannot be freed meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// `GET /backup`.
pub(crate) async fn stream<S: Store>(serving: &Serving<S>, head: &Parts, _: Body) -> Answer {
    let params = Params::parse(head.uri.query(), &["level", "min_index"])?;
    let fresh = readable(serving, head, &params).await?;
    let view = serving.api.keys.view().map_err(broken(serving))?;
    let Some(last) = view.applied() else {
        let message = "nothing was applied here yet, so there is nothing to back up; wait until GET /ready says 200";
        return Err(Failure::unavailable("catching_up", message));
    };
    // Read after the view: a number that was given by then is never missing from it.
    let membership = stands(serving).await?.raft.membership;
    let member = |(id, member): (&NodeId, &Member)| BackupMember {
        node: id.0,
        id: member.name.clone(),
        http: member.client.clone(),
        peer: member.peer.clone(),
        voter: membership.is_voter(*id),
    };
    let identity = serving.api.node.identity();
    let header = Header {
        cluster: identity.cluster.to_string(),
        node: identity.label.clone(),
        term: last.term.0,
        index: last.index.0,
        revision: view.revision().0,
        taken: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        keys: view.keys(),
        members: membership.members().iter().map(member).collect(),
        last_id: membership.last_id().map_or(0, |id| id.0),
        program: serving.api.version.to_owned(),
        used: membership.used().0.into(),
    };
    let (sender, body) = Channel::<Bytes, KvError>::new(1);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    tell(headers, Some(last.index.0), view.revision().0);
    fresh.tell(&mut response);
    tokio::spawn(send(serving.api.node.clone(), view, header, sender));
    Ok(response)
}

/// Sends all of it, or lets the stream break off: without its trailer nobody takes it for whole.
async fn send<V: View>(node: Handle, view: KvView<V>, header: Header, mut sender: Sender<Bytes, KvError>) {
    let (mut writer, first) = BackupWriter::begin(&header);
    let mut next = first;
    let (mut view, mut cursor) = (view, None::<Bytes>);
    let mut is_last = false;
    loop {
        // Err, inside: whoever asked has gone.
        match tokio::time::timeout(PATIENCE, sender.send_data(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return tracing::warn!("a backup was given up: nothing of it was taken for {PATIENCE:?}"),
        }
        if is_last {
            break;
        }
        // It comes from the disk, which the runtime's own threads must not wait for.
        let read = tokio::task::spawn_blocking(move || {
            let chunk = view.chunk(cursor.as_deref(), CHUNK_BYTES);
            (view, chunk)
        });
        let Ok((back, chunk)) = read.await else { return };
        view = back;
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                tell_damage(&node, &error);
                tracing::error!(%error, "a backup broke off");
                return sender.abort(error);
            }
        };
        next = writer.chunk(&chunk.bytes);
        is_last = chunk.next.is_none();
        cursor = chunk.next;
    }
    // Err: whoever asked has gone.
    sender.send_data(writer.finish()).await.ok();
}
