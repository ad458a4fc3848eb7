//! What is done to a valid input: a little, so that much of it is still what an encoder wrote.

use hezong_base::Rng;

/// Bytes that mean something at the edge of a range: of a byte, of a varint, of a length of four or eight bytes.
const EDGES: [&[u8]; 12] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0, 0, 0, 0, 0, 0, 0, 0],
];

/// A place in, or right behind, so many bytes.
fn place(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len as u64 + 1)).unwrap_or(0)
}

/// Any byte.
pub fn byte(rng: &mut Rng) -> u8 {
    rng.next_u64().to_le_bytes()[0]
}

/// So many bytes at most, of any kind.
pub fn noise(rng: &mut Rng, len_max: u64) -> Vec<u8> {
    (0..rng.below(len_max + 1)).map(|_| byte(rng)).collect()
}

/// Some of: cut, remove, repeat, insert, overwrite with an edge or with noise, flip a bit, swap, and take from `other`.
pub fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=rng.below(4) {
        let (a, b) = (place(rng, bytes.len()), place(rng, bytes.len()));
        let (from, to) = (a.min(b), a.max(b));
        match rng.below(11) {
            0 => bytes.truncate(to),
            1 => drop(bytes.drain(from..to.min(from + 8))),
            2 => {
                let piece = bytes[from..to.min(from + 64)].to_vec();
                bytes.splice(to..to, piece);
            }
            3 => bytes.insert(from, byte(rng)),
            4 | 5 => {
                let edge = EDGES[place(rng, EDGES.len() - 1)];
                let end = bytes.len().min(from + edge.len());
                bytes.splice(from..end, edge.iter().copied());
            }
            6 => bytes[from..to.min(from + 4)].iter_mut().for_each(|at| *at = byte(rng)),
            7 | 8 if from < bytes.len() => bytes[from] ^= 1 << rng.below(8),
            9 => {
                let start = place(rng, other.len());
                let piece = &other[start..other.len().min(start + 64)];
                bytes.splice(from..to.min(from + 64), piece.iter().copied());
            }
            _ => {
                let piece: Vec<u8> = bytes.drain(from..to.min(from + 16)).collect();
                let into = place(rng, bytes.len());
                bytes.splice(into..into, piece);
            }
        }
    }
}
