//! Log records: round trips, blobs cut and damaged, blobs that contradict their place.

mod random;

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Index, LogId, NodeId, Rng, Term};
use hezong_codec::log::{
    Change, decode_base, decode_entry, encode_base, encode_entries, encode_entry, to_change, to_write,
};
use hezong_codec::{DecodeError, SLICE_BYTES_MIN};
use hezong_raft::{Base, Entry, Payload, Write};

#[test]
fn log_write_round_trip() {
    let mut rng = Rng::new(1);
    for _ in 0..3_000 {
        let write = random::write(&mut rng);
        assert_eq!(to_write(to_change(&write)), Ok(write));
    }
}

#[test]
fn log_change_tells_places() {
    let entry = |index| Entry { id: LogId::new(2, index), time: Duration::ZERO, payload: Payload::Empty };
    let Change::Append { first, entries } = to_change(&Write::Append(vec![entry(7), entry(8)].into())) else {
        panic!()
    };
    assert_eq!((first, entries.len()), (Index(7), 2));
    assert_eq!(to_change(&Write::Truncate(Index(5))), Change::Truncate { from: Index(5) });
    let base = Base { last: Some(LogId::new(2, 9)), ..Base::default() };
    assert!(matches!(to_change(&Write::Compact(base.clone())), Change::Compact { through: Index(9), .. }));
    assert!(matches!(to_change(&Write::Reset(base)), Change::Reset { last: Some(Index(9)), .. }));
    assert!(matches!(to_change(&Write::Reset(Base::default())), Change::Reset { last: None, .. }));
}

/// Absence, zero and "missing" are three things.
#[test]
fn log_state_vote_absent_or_zero() {
    for vote in [None, Some(NodeId(0)), Some(NodeId(u64::MAX))] {
        let write = Write::Vote { term: Term(0), vote, owed: vote.map(|_| LogId::new(0, 7)) };
        assert_eq!(to_write(to_change(&write)), Ok(write));
    }
    assert_eq!(to_write(Change::State(Bytes::new())), Err(DecodeError::Missing { field: "state.term" }));
}

#[test]
fn log_entries_one_by_one_or_together() {
    let mut rng = Rng::new(2);
    for _ in 0..300 {
        let entries: Vec<_> = (0..rng.below(9)).map(|_| random::entry(&mut rng)).collect();
        let blobs = encode_entries(&entries);
        assert_eq!(blobs, entries.iter().map(encode_entry).collect::<Vec<_>>());
        let decoded: Result<Vec<_>, _> = blobs.into_iter().map(decode_entry).collect();
        assert_eq!(decoded, Ok(entries));
    }
}

/// A blob that stands at another place than the record says is never taken for the one that belongs there.
#[test]
fn log_blob_at_wrong_place_refused() {
    let entry =
        |index| encode_entry(&Entry { id: LogId::new(2, index), time: Duration::ZERO, payload: Payload::Empty });
    let append = |first, entries| to_write(Change::Append { first: Index(first), entries }).is_ok();
    assert!(append(4, vec![entry(4), entry(5)]));
    assert!(!append(3, vec![entry(4), entry(5)]));
    assert!(!append(4, vec![entry(4), entry(6)]));
    assert!(!append(4, vec![]));
    assert!(!append(u64::MAX, vec![entry(u64::MAX), entry(1)]));

    let base = |last| encode_base(&Base { last, ..Base::default() });
    let nine = Some(LogId::new(2, 9));
    assert!(to_write(Change::Compact { through: Index(9), base: base(nine) }).is_ok());
    assert!(to_write(Change::Compact { through: Index(8), base: base(nine) }).is_err());
    assert!(to_write(Change::Compact { through: Index(9), base: base(None) }).is_err());
    assert!(to_write(Change::Reset { last: Some(Index(9)), base: base(nine) }).is_ok());
    assert!(to_write(Change::Reset { last: None, base: base(nine) }).is_err());
    assert!(to_write(Change::Reset { last: Some(Index(9)), base: base(None) }).is_err());
}

/// Cut anywhere, a blob is an error or (where the cut falls between two optional fields) a value that it then encodes
/// to; never the whole value again, and never a panic.
#[test]
fn log_blob_truncated_anywhere() {
    let mut rng = Rng::new(3);
    for _ in 0..200 {
        let entry = random::entry(&mut rng);
        let blob = encode_entry(&entry);
        for len in 0..blob.len() {
            assert_ne!(decode_entry(blob.slice(..len)).ok().as_ref(), Some(&entry));
        }
        let base = random::base(&mut rng);
        let blob = encode_base(&base);
        for len in 0..blob.len() {
            assert_ne!(decode_base(blob.slice(..len)).ok().as_ref(), Some(&base));
        }
    }
}

/// Damage that a checksum would have found still never panics here.
#[test]
fn log_blob_flipped_bit_never_panics() {
    let mut rng = Rng::new(4);
    for _ in 0..100 {
        let entry = random::entry(&mut rng);
        let blob = encode_entry(&entry);
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A flip can land where it changes nothing (a `true` of 1 becomes one of 3), so all that is asked is that
            // whatever is understood is understood the same way again.
            if let Ok(found) = decode_entry(damaged.into()) {
                assert_eq!(decode_entry(encode_entry(&found)), Ok(found));
            }
        }
    }
}

#[test]
fn log_membership_order_and_last_id_checked() {
    // Base { time: 0, membership { members: [{id, voter, contact}…], last_id } }.
    let member = |id: u8| vec![0x08, id, 0x10, 1, 0x1a, 6, 0x0a, 0, 0x12, 0, 0x1a, 0];
    let base = |ids: &[u8], last_id: u8| {
        let mut membership = Vec::new();
        for id in ids {
            membership.extend([0x0a, 12]);
            membership.extend(member(*id));
        }
        membership.extend([0x10, last_id]);
        let mut base = vec![0x10, 0, 0x1a, u8::try_from(membership.len()).unwrap()];
        base.extend(membership);
        decode_base(base.into())
    };
    assert_eq!(base(&[1, 2], 2).unwrap().membership.voters().len(), 2);
    for (ids, last_id, field) in
        [(&[2, 1], 2, "membership.members"), (&[1, 1], 2, "membership.members"), (&[1, 2], 1, "membership.last_id")]
    {
        let Err(DecodeError::Invalid { field: found, .. }) = base(ids, last_id) else { panic!("{ids:?}") };
        assert_eq!(found, field);
    }
}

/// Large commands keep the blob, small ones do not; entries of one append share a buffer.
#[test]
fn log_large_commands_slice_small_ones_copy() {
    let entry = |len| Entry {
        id: LogId::new(1, 1),
        time: Duration::ZERO,
        payload: Payload::Command(Bytes::from(vec![5; len])),
    };
    for (len, slice) in [(SLICE_BYTES_MIN, true), (SLICE_BYTES_MIN - 1, false)] {
        let blob = encode_entry(&entry(len));
        let Payload::Command(command) = decode_entry(blob.clone()).unwrap().payload else { panic!() };
        assert_eq!(blob.as_ptr_range().contains(&command.as_ptr()), slice);
    }
    let blobs = encode_entries(&[entry(100), entry(100)]);
    assert_eq!(blobs[0].as_ptr_range().end, blobs[1].as_ptr());
}

/// What is on disks out there must stay readable: these bytes are of version 1 and never change.
#[test]
fn log_blobs_of_version_1() {
    let entry = Entry {
        id: LogId::new(3, 300),
        time: Duration::from_nanos(5),
        payload: Payload::Command(Bytes::from_static(b"set")),
    };
    assert_eq!(&encode_entry(&entry)[..], b"\x08\x03\x10\xac\x02\x18\x05\x2a\x03set");
    let Change::State(state) = to_change(&Write::Vote { term: Term(7), vote: Some(NodeId(2)), owed: None }) else {
        panic!()
    };
    assert_eq!(&state[..], b"\x08\x07\x10\x02");
    assert_eq!(&encode_base(&Base::default())[..], b"\x10\x00\x1a\x00");
}
