//! `hezong restore` and `hezong recover`: a data folder for the first node of a new cluster, made from a backup or from
//! what is left on the disk of one node. Both move revision and index on by [`STEP`], and never touch what they read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hezong_base::{Index, LogId, NodeId};
use hezong_client::Options;
use hezong_kv::{BackupError, Kv, KvError, KvView, Rules, STEP};
use hezong_node::StateMachine as _;
use hezong_raft::{Entry, Member, Membership, Payload, Version};
use hezong_shell::{Founding, Identity, Resting};
use hezong_store::{DiskStore, View};
use serde_json::json;
use tokio::net::TcpStream;

use crate::args::{RecoverArgs, RestoreArgs};
use crate::node::GROUP;
use crate::{data, say};

/// How much of a state is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How long a voter may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a state cannot be filled.
#[derive(Debug, thiserror::Error)]
enum FillError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// Blocks: it waits for the disk, and for the store a backup lies in.
pub(crate) fn restore(args: &RestoreArgs) -> Result<()> {
    let (header, _) = args.place.check()?;
    let member = Member { name: args.id.clone(), peer: args.peer.clone(), client: args.http.clone() };
    let founder = Founder::begin(&args.dir, member, Some(NodeId(header.last_id)))?;
    let mut kv = founder.open_state()?;
    let (mut source, _) = args.place.open()?;
    if *source.header() != header {
        bail!("{} has become another since it was checked; begin again with an empty folder", args.place);
    }
    let last = LogId::new(header.term, header.index);
    kv.fill(last, || Ok::<_, FillError>(source.next_chunk()?))
        .with_context(|| format!("{} cannot be restored", args.place))?;
    let used = Version(u8::try_from(header.used).context("the backup's version was checked")?);
    founder.finish(kv, used, args.json, &format!("{} keys of cluster {}", header.keys, header.cluster))
}

pub(crate) async fn recover(args: &RecoverArgs) -> Result<()> {
    let options = args.security.options()?;
    let old = Resting::open(&args.from)?;
    let found = survey(&old)?;
    let identity = old.identity();
    let voters = found.members.voters();
    // A learner that is left counts for nothing, and what it holds is better than nothing.
    let mut reached: Vec<&str> = voters.iter().filter(|id| **id == identity.node).map(|_| &*identity.label).collect();
    for id in voters.iter().filter(|id| **id != identity.node) {
        let Some(member) = found.members.members().get(id) else { continue };
        if can_be_had(&member.client, identity, &options).await {
            reached.push(&member.name);
        }
    }
    if found.last.is_none() {
        bail!("{} holds nothing to make a cluster of; join one, or restore a backup", args.from.display());
    }
    let majority = voters.len() / 2 + 1;
    if reached.len() >= majority {
        bail!(
            "the majority is not lost: {} can still be had, and {majority} of {} voters are enough; start {} again and \
             nothing is lost (of a node that runs elsewhere now, remove what listens in its place)",
            reached.join(", "),
            voters.len(),
            identity.label
        );
    }
    let known = found.members.members().get(&identity.node).cloned().unwrap_or_default();
    let member = Member {
        name: args.id.clone().unwrap_or(identity.label.clone()),
        peer: args.peer.clone().unwrap_or(known.peer),
        client: args.http.clone().unwrap_or(known.client),
    };

    let store = hezong_store::open(args.from.join("state"))
        .with_context(|| format!("the state in {} is needed as well", args.from.display()))?;
    let source = Kv::open(store, "kv", Rules::default())?;
    let view = source.reader().view()?;
    let rest = Rest::of(&old, &found, view.applied(), source.is_installed()?)?;
    let founder = Founder::begin(&args.to, member, found.members.last_id())?;
    let mut kv = founder.open_state()?;
    if let Some(last) = view.applied() {
        fill(&mut kv, last, &view)?;
    }
    rest.apply(&old, &mut kv)?;
    let keys = kv.reader().view()?.keys();
    if !args.json {
        say::line(rest.tell(&identity.label));
    }
    founder.finish(kv, found.members.used(), args.json, &format!("{keys} keys of cluster {}", identity.cluster))
}

/// Whether a voter is there. What listens in its place and does not say that it belongs to another cluster is taken for
/// it: it may only want to be asked by TLS, and one cluster too many costs more than a question too many.
async fn can_be_had(http: &str, ours: &Identity, options: &Options) -> bool {
    if let Ok(stands) = data::status_of(http, options).await {
        return stands["clusterId"] == ours.cluster.to_string();
    }
    tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(http)).await.is_ok_and(|connected| connected.is_ok())
}

/// What a log tells.
struct Survey {
    /// Those of the last membership in it, committed or not: as the node would have gone on with.
    members: Membership,
    base: Option<LogId>,
    last: Option<LogId>,
}

fn survey(old: &Resting) -> Result<Survey> {
    let base = old.base(GROUP)?.unwrap_or_default();
    let mut found = Survey { members: base.membership, base: base.last, last: base.last };
    for entries in old.entries(GROUP) {
        for entry in entries? {
            found.last = Some(entry.id);
            if let Payload::Membership(members) = entry.payload {
                found.members = members;
            }
        }
    }
    Ok(found)
}

/// The entries of the log that the state does not hold yet.
struct Rest {
    applied: Option<LogId>,
    last: Option<LogId>,
}

impl Rest {
    fn of(old: &Resting, found: &Survey, applied: Option<LogId>, is_installed: bool) -> Result<Self> {
        let folder = old.folder().display();
        let none = Self { applied, last: applied };
        // A snapshot is in place before the log is made to fit it: then the log holds nothing that is newer.
        let fits = applied == found.base || {
            let mut ids = old.entries(GROUP).flatten().flatten().map(|entry| entry.id);
            applied.is_some_and(|applied| ids.any(|id| id == applied))
        };
        match (fits, is_installed) {
            (true, _) => Ok(Self { applied, last: found.last }),
            (false, true) => Ok(none),
            (false, false) => bail!(
                "the state in {folder} ends at index {}, which its log, from index {} to {}, does not hold: part of it is \
                 gone; recover from another node, or restore a backup",
                number(applied),
                number(found.base) + 1,
                number(found.last)
            ),
        }
    }

    fn apply(&self, old: &Resting, kv: &mut Kv<DiskStore>) -> Result<()> {
        if self.last == self.applied {
            return Ok(());
        }
        let after = self.applied.map(|applied| applied.index);
        for entries in old.entries(GROUP) {
            let entries: Vec<Entry> = entries?.into_iter().filter(|entry| Some(entry.id.index) > after).collect();
            kv.apply(&entries)?;
        }
        Ok(())
    }

    fn tell(&self, label: &str) -> String {
        let (applied, last) = (number(self.applied), number(self.last));
        let kept = match last - applied {
            0 => "all of it was committed".to_owned(),
            more => format!(
                "the last {more}, from index {}, were not known to be committed and are kept all the same",
                applied + 1
            ),
        };
        format!(
            "{label} holds what was written up to index {last}; {kept}. Whatever the other voters acknowledged beyond \
             index {last} is lost"
        )
    }
}

fn number(id: Option<LogId>) -> u64 {
    id.map_or(0, |LogId { index: Index(index), .. }| index)
}

fn fill<V: View>(kv: &mut Kv<DiskStore>, last: LogId, view: &KvView<V>) -> Result<()> {
    let (mut cursor, mut done) = (None, false);
    kv.fill(last, || {
        if done {
            return Ok::<_, KvError>(None);
        }
        let chunk = view.chunk(cursor.as_deref(), CHUNK_BYTES)?;
        done = chunk.next.is_none();
        cursor = chunk.next;
        Ok(Some(chunk.bytes))
    })?;
    Ok(())
}

/// The only member of a new cluster, and the folder that is made for it.
struct Founder {
    folder: Founding,
    path: PathBuf,
    node: NodeId,
    member: Member,
}

impl Founder {
    /// Checks everything about the new folder that can be, then takes it.
    fn begin(path: &Path, member: Member, last_id: Option<NodeId>) -> Result<Self> {
        for (name, address) in [("--http", &member.client), ("--peer", &member.peer)] {
            if let Err(reason) = hezong_http::check_address(address) {
                bail!("{name} {address:?} cannot be reached by others: {reason}; write host:port, as host2:8091");
            }
        }
        // A number of its own, so that no node of the old cluster has it.
        let node = last_id.map_or(NodeId(1), NodeId::next);
        let folder = Founding::begin(path, &member.name)?;
        Ok(Self { folder, path: path.to_owned(), node, member })
    }

    fn open_state(&self) -> Result<Kv<DiskStore>> {
        Ok(Kv::open(hezong_store::open(self.path.join("state"))?, "kv", Rules::default())?)
    }

    fn finish(self, mut kv: Kv<DiskStore>, used: Version, as_json: bool, what: &str) -> Result<()> {
        let Self { folder, path, node, member } = self;
        // What the old cluster used lies in the state still.
        let members = Membership::of_voters([(node, member.clone())]).with_versions(used, used);
        let base = kv.refound(members)?;
        let view = kv.reader().view()?;
        let Identity { cluster, label, .. } = folder.finish(GROUP, base)?;
        if as_json {
            say::line(
                json!({
                    "folder": path.display().to_string(),
                    "clusterId": cluster.to_string(),
                    "nodeId": node.0,
                    "id": label,
                    "index": number(view.applied()),
                    "revision": view.revision().0,
                    "keys": view.keys(),
                })
                .to_string(),
            );
            return Ok(());
        }
        say::line(format!(
            "{} holds {what} and is now {label}, the only node of the new cluster {cluster}; revisions and indices \
             go on {STEP} later, from revision {}",
            path.display(),
            view.revision().0
        ));
        say::line(format!(
            "start it:    hezong node --id {label} --http {http} --peer {peer} {}\nthen others: hezong node --id … --join \
             {http} …   with empty folders\n\
             each with the certificates, the token and the configuration that the nodes of the old cluster had",
            path.display(),
            http = member.client,
            peer = member.peer
        ));
        Ok(())
    }
}
