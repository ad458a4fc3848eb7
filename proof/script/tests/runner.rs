//! The runner on a protocol of a few lines: what one node is told, it writes down and then tells its neighbour.

use std::hash::Hasher;
use std::time::Duration;

use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time, Writes};
use hezong_script::{Command, Dialect, World, replay};

/// A node that passes on what it hears, once it has written it down, and every second says that it lives.
#[derive(Clone)]
struct Gossip {
    id: NodeId,
    writes: Writes<Gossip>,
    deadline: Time,
}

impl Protocol for Gossip {
    type Config = NodeId;
    type Message = String;
    type Request = String;
    type Event = String;
    type Write = String;
    type Saved = Vec<String>;
    type Ask = ();
    type Answer = ();

    fn save(saved: &mut Vec<String>, write: &String) {
        saved.push(write.clone());
    }

    fn start(now: Time, id: NodeId, saved: Vec<String>, _: Rng, out: &mut Vec<Effect<Self>>) -> Self {
        out.push(Effect::Emit(format!("knows {saved:?}")));
        Self { id, writes: Writes::default(), deadline: now + Duration::from_secs(1) }
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Vec<Effect<Self>>) {
        match input {
            Input::Message { message, .. } => out.push(Effect::Emit(format!("heard {message}"))),
            Input::Request { request, .. } => {
                let write = self.writes.store(now, request.clone(), 1, out);
                self.writes.send(Some(write), self.id.next(), request, out);
            }
            Input::Stored(id) => self.writes.stored(id, out),
            Input::Answered { .. } => {}
            Input::Timeout => {
                out.push(Effect::Emit("lives".to_owned()));
                self.deadline = now + Duration::from_secs(1);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.deadline)
    }

    fn fingerprint(&self, _: Time, _: &mut dyn Hasher) {}
}

struct GossipDialect;

impl Dialect for GossipDialect {
    type Protocol = Gossip;
    type Disk = Vec<String>;

    fn config(id: NodeId, options: &Command) -> Result<NodeId, String> {
        options.only(&[]).map(|()| id)
    }
    fn disk(_: &[NodeId], _: &Command) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
    fn write(disk: &mut Vec<String>, write: &String) {
        disk.push(write.clone());
    }
    fn saved(disk: &Vec<String>) -> Vec<String> {
        disk.clone()
    }
    fn answer(_: &Vec<String>, (): &()) {}
    fn react(_: &Vec<String>, _: &String) -> Option<String> {
        None
    }
    fn name(id: NodeId, _: &Gossip) -> String {
        id.to_string()
    }
    fn sender(from: NodeId, _: &String) -> String {
        from.to_string()
    }
    fn message(message: &String) -> String {
        message.clone()
    }
    fn show_write(write: &String) -> String {
        write.clone()
    }
    fn event(event: &String) -> String {
        event.clone()
    }
    fn ask((): &()) -> String {
        "nothing".to_owned()
    }
    fn status(_: Time, node: &Gossip) -> String {
        format!("writing={}", node.writes.last_outstanding().is_some())
    }
    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        if command.name != "say" {
            return Ok(false);
        }
        world.request(command.node(0)?, command.word(1)?.to_owned()).map(|()| true)
    }
}

fn play(script: &str) -> Result<String, String> {
    replay::<GossipDialect>(script)
}

/// Plays a script that must come out as it is written.
fn golden(script: &str) {
    assert_eq!(play(script).expect("the script runs"), script);
}

#[test]
fn letter_delivered() {
    golden(
        "# A story.\ncluster nodes=2\nsay 1 hello\n---\nn1 event knows []\nn2 event knows []\nn1 disk hello\nn1 → n2 hello\n\n\
         deliver\n---\nn2 event heard hello\n",
    );
}

#[test]
fn letter_lost_is_struck_out() {
    let out = play("cluster nodes=2\ncut 1 2\nsay 1 no\n---\n").expect("the script runs");
    assert!(out.ends_with("n1 ⇥ n2 n\u{336}o\u{336}\n"), "{out}");
    let out = play("cluster nodes=2\nsay 1 no\ncrash 2\ndeliver\n---\n").expect("the script runs");
    assert!(out.ends_with("n1 ⇥ n2 n\u{336}o\u{336}\n"), "{out}");
}

#[test]
fn partition_cuts_between_groups_only() {
    let out = play("cluster nodes=4\npartition 1 2 | 3 4\nsay 2 a\nsay 1 b\n---\n").expect("the script runs");
    assert!(out.contains("n2 ⇥ n3") && out.contains("n1 → n2"), "{out}");
}

#[test]
fn write_held_then_lost_or_stored() {
    golden(
        "cluster nodes=2\nhold-writes 1\nsay 1 a\nsay 1 b\nstatus\n---\nn1 event knows []\nn2 event knows []\n\
         n1 disk a (held)\nn1 disk b (held)\nn1 writing=true\nn2 writing=false\n\n\
         stored 1 count=1\n---\nn1 → n2 a\n\n\
         # The second never reached the disk.\ncrash 1\nstart\n---\nn1 disk b\u{336}\nn1 event knows [\"a\"]\n",
    );
}

#[test]
fn clock_advances_from_deadline_to_deadline() {
    golden(
        "cluster nodes=1\nadvance 2500ms\n---\nn1 event knows []\nn1 event lives\nn1 event lives\n\n\
         # A paused process has one deadline, late.\nwait 5s\nadvance 1ms\n---\nn1 event lives\n",
    );
}

#[test]
fn letters_chosen_by_filter() {
    golden(
        "cluster nodes=3\nsay 1 a\nsay 1 b\nsay 2 c\nduplicate from=2\ndrop type=a\ndeliver to=2 last=1\n---\n\
         n1 event knows []\nn2 event knows []\nn3 event knows []\nn1 disk a\nn1 → n2 a\nn1 disk b\nn1 → n2 b\n\
         n2 disk c\nn2 → n3 c\nn1 ⇥ n2 a\u{336}\nn2 event heard b\n\nsettle\n---\nn3 event heard c\nn3 event heard c\n",
    );
}

#[test]
fn mistakes_are_told_by_line() {
    for (script, wanted) in [
        ("cluster nodes=1\nsing 1\n---\n", "line 2: no command is called sing"),
        ("cluster nodes=1\ndeliver\n---\n", "line 2: no such message is on its way"),
        ("cluster nodes=1 colour=red\n---\n", "line 1: cluster: no option is called colour"),
        ("cluster nodes=1\nsay 2 a\n---\n", "line 2: there is no node n2"),
        ("cluster nodes=1\nsay 1 a\n", "the last commands have no ---"),
        ("# only a comment\n", "no commands"),
    ] {
        let error = play(script).expect_err("the script is wrong");
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn what_the_script_says_is_replaced() {
    let out = play("cluster nodes=1\n---\nn1 event knows everything\nand more\n\nstatus\n---\n").expect("it runs");
    assert_eq!(out, "cluster nodes=1\n---\nn1 event knows []\n\nstatus\n---\nn1 writing=false\n");
}
