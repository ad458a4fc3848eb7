//! Looking on while a story is played: for charts, and for judging it by what must hold.

use hezong_base::{Input, NodeId, Protocol, Time};

use crate::Dialect;

type Message<D> = <<D as Dialect>::Protocol as Protocol>::Message;
type Write<D> = <<D as Dialect>::Protocol as Protocol>::Write;
type Event<D> = <<D as Dialect>::Protocol as Protocol>::Event;

/// Something that happens in a story.
#[derive(Debug)]
pub enum Moment<'a, D: Dialect> {
    /// A node comes up.
    Started(NodeId),
    /// A node goes down.
    Crashed(NodeId),
    /// What it had written was not on disk when it went down.
    LostWrite(NodeId, &'a Write<D>),
    /// A node is about to be handed this.
    Input(NodeId, &'a Input<D::Protocol>),
    /// A node is this now, with this on its disk.
    Became(NodeId, &'a D::Protocol, &'a D::Disk),
    /// A message leaves. Each has a number, which its copies share.
    Sent {
        /// Its number.
        number: u64,
        /// Who says it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        message: &'a Message<D>,
    },
    /// It arrives.
    Delivered {
        /// Its number.
        number: u64,
        /// Who said it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        message: &'a Message<D>,
    },
    /// It never will.
    Lost {
        /// Its number.
        number: u64,
        /// Who said it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        message: &'a Message<D>,
    },
    /// A node writes this to its disk.
    Wrote(NodeId, &'a Write<D>),
    /// A node tells its user this.
    Told(NodeId, &'a Event<D>),
    /// Nothing passes from the one to the other any more.
    Cut(NodeId, NodeId),
    /// Everything passes again.
    Healed,
}

/// Who looks on.
pub trait Watch<D: Dialect> {
    /// Is shown what happens. An error ends the story there.
    ///
    /// # Errors
    /// Says what must not be.
    fn see(&mut self, now: Time, moment: Moment<'_, D>) -> Result<(), String>;
}
