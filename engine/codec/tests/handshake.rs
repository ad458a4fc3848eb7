//! The handshake's types: which version two nodes agree on, cluster ids as text, refusals as people read them.

use hezong_base::NodeId;
use hezong_codec::{ClusterId, ClusterIdError, Refusal, Versions};

#[test]
fn versions_common_is_the_newest_of_both() {
    let versions = |min, max| Versions { min, max };
    assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
    assert_eq!(versions(2, 5).common(versions(1, 3)), Some(3));
    assert_eq!(versions(1, 1).common(versions(1, 1)), Some(1));
    assert_eq!(versions(1, 2).common(versions(3, 4)), None);
    assert_eq!(versions(3, 4).common(versions(1, 2)), None);
    assert_eq!(versions(1, 2).since(2), versions(2, 2));
    assert_eq!(versions(1, 2).since(2).common(versions(1, 1)), None);
    assert!(versions(2, 3).contains(2) && versions(2, 3).contains(3));
    assert!(!versions(2, 3).contains(1) && !versions(2, 3).contains(4));
}

#[test]
fn cluster_id_text() {
    let id = ClusterId(0xab);
    let text = "000000000000000000000000000000ab";
    assert_eq!(id.to_string(), text);
    assert_eq!(text.parse(), Ok(id));
    assert_eq!(text.to_uppercase().parse(), Ok(id));
    for wrong in ["", "ab", "+00000000000000000000000000000ab", "0000000000000000000000000000000000ab", "合纵"] {
        assert_eq!(wrong.parse::<ClusterId>(), Err(ClusterIdError), "{wrong:?}");
    }
}

#[test]
fn refusal_names_the_thing_and_the_remedy() {
    let told = |refusal: Refusal| refusal.to_string();
    assert_eq!(
        told(Refusal::Version(Versions { min: 2, max: 3 })),
        "it speaks versions 2 to 3 of the peer protocol; upgrade the older of the two nodes"
    );
    assert_eq!(told(Refusal::Node(NodeId(3))), "it is n3, another node than the one dialled; check the peer address");
    assert!(
        told(Refusal::Cluster(ClusterId(1))).starts_with("it belongs to cluster 00000000000000000000000000000001;")
    );
}
