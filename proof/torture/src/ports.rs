//! Ports that nobody else takes for as long as this process lives, even while what listens there is down: a node that is
//! started again finds its port as it left it.

use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

/// A row is so many ports. Whoever listens on the first of them owns the others; the system lets go of it when the process
/// ends, however it ends.
const ROW: u16 = 40;
/// All rows lie below the range from which the system draws ports for outgoing connections, or one of those could take a
/// port before the node does.
const FIRST: u16 = 12_000;
const ROWS: u16 = 450;

/// The row that ports are taken from at the moment.
struct Row {
    next: u16,
    end: u16,
    /// Those that were used up before it stay this process's as well.
    owned: Vec<TcpListener>,
}

static CURRENT: Mutex<Row> = Mutex::new(Row { next: 0, end: 0, owned: Vec::new() });

/// A port of this process.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row, each given once.
pub fn free_ports(count: u16) -> u16 {
    assert!(count < ROW, "a row has {ROW} ports");
    let mut row = CURRENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    loop {
        if row.next + count > row.end {
            let (first, owned) = claim();
            row.next = first + 1;
            row.end = first + ROW;
            row.owned.push(owned);
        }
        let first = row.next;
        row.next += count;
        if !(first..first + count).any(is_taken) {
            return first;
        }
    }
}

/// Programs that know nothing of rows listen somewhere too. Found by calling, not by listening: a child that another thread
/// starts just then would have the listener until it runs its own program, and the port would be taken a moment longer.
fn is_taken(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Takes a row that is nobody's. Where the search begins differs by process only so that it is short.
fn claim() -> (u16, TcpListener) {
    let begin = u16::try_from(std::process::id() % u32::from(ROWS)).expect("below the number of rows");
    (0..ROWS)
        .map(|step| FIRST + (begin + step) % ROWS * ROW)
        .find_map(|first| Some((first, TcpListener::bind(("127.0.0.1", first)).ok()?)))
        .expect("one of the rows of ports is nobody's")
}
