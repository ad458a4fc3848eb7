//! Instants, at their edges.
#![allow(missing_docs, reason = "tests")]

use std::time::Duration;

use hezong_base::Time;

#[test]
fn wait_ends_later_than_it_begins() {
    let now = Time::from_millis(7);
    assert_eq!(now.after(Duration::from_millis(3)), Time::from_millis(10));
    assert!(now.after(Duration::ZERO) > now);
    assert_eq!(now.after(Duration::ZERO), now.after(Duration::from_nanos(1)));
    assert_eq!(now.after(Duration::MAX), Time::from_nanos(u64::MAX), "there is nothing later");
}
