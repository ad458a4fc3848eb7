//! `hezong debug bundle` over real nodes: what is in it, what is not in it, and what is said of nodes that are gone.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flate2::read::GzDecoder;
use support::{Cluster, Node, get, get_by_tls, hezong, send, wait_until};

/// The files of a bundle, by their paths in it.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().strip_prefix("hezong-debug").unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (path, text)
    });
    files.collect()
}

#[test]
fn bundle_holds_what_every_node_tells_and_names_those_that_are_gone() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].kill();
    let gone = cluster.nodes[gone].id.clone();
    let any = cluster.nodes[(leader + 2) % 3].http.clone();
    send(&cluster.nodes[leader].http, "PUT", "/key/a", &[], b"v").unwrap();
    let path = cluster.root.path().join("bundle.tar.gz");
    let at = path.display().to_string();
    let bundle = |more: &[&str]| {
        hezong(&[&["debug", "bundle", &at, "--apart", "0.1", "--timeout", "30", "-e", &any], more].concat())
    };

    let (code, said, error) = bundle(&[]);
    assert_eq!(code, 0, "{said}{error}");
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(said.contains(&format!("of 3 nodes, {bytes} bytes")), "{said}");
    assert!(said.contains(&format!("{gone} is missing")) && said.contains("refused"), "{said}");
    let files = unpacked(&path);
    let manifest = &files["manifest.txt"];
    assert!(manifest.contains(&format!("{gone}\tmissing: ")), "{manifest}");
    for node in cluster.nodes.iter().filter(|node| node.id != gone) {
        let of = |name: &str| {
            let found = files.iter().find(|(path, _)| path.ends_with(&format!("-{}/{name}", node.id)));
            let (path, text) = found.unwrap_or_else(|| panic!("no {name} of {}: {manifest}", node.id));
            assert!(manifest.contains(&format!("{path}\t{} bytes\n", text.len())), "{path}: {manifest}");
            text
        };
        assert!(of("status.json").contains(&node.http) && of("members.json").contains(&gone));
        assert!(of("metrics-1.txt").contains("hezong_build_info") && of("metrics-2.txt").contains("hezong_slow_steps"));
        assert!(of("settings.toml").contains("# --election-timeout"), "{}", of("settings.toml"));
        assert!(of("log.txt").contains("the node is open"), "{}", of("log.txt"));
    }
    assert!(files["local/limits.txt"].contains("Max open files") && files["local/kernel.txt"].contains("Linux"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, _, error) = bundle(&[]);
    assert!(code == 1 && error.contains("is there already and is not replaced"), "{code} {error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    let (code, _, error) = hezong(&["debug", "bundle", "/nowhere/b.tar.gz", "--apart", "0", "-e", &any]);
    assert!(code == 1 && error.contains("/nowhere/b.tar.gz cannot be written"), "{code} {error}");
}

#[test]
fn bundle_holds_no_secret_and_takes_the_token() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let (own, token) = (at("own"), at("token"));
    hezong(&["cert", "authority", &own]);
    hezong(&["cert", "token", &token]);
    hezong(&["cert", "node", "node01", "--host", "127.0.0.1", "--authority", &own, "--out", &own]);
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    let config = at("hezong.toml");
    fs::write(
        &config,
        format!(
            "# {secret}\n[security]\ntls_cert = \"{own}/node01.pem\"\ntls_key = \"{own}/node01.key\"\ntls_ca = \"{own}/ca.pem\"\n\
             [log]\nlevel = \"trace\"\n"
        ),
    )
    .unwrap();
    let mut node = Node::new(root.path(), "node01");
    // As somebody would who has not read that secrets are named by their files; one may also be lying about by chance.
    let stray = [
        ("HEZONG_TOKEN_FIL", secret.as_str()),
        ("HEZONG_TLS_KEY_PEM", &fs::read_to_string(format!("{own}/node01.key")).unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    node.start_with(&["--bootstrap", "--config", &config, "--token-file", &token], &stray);
    wait_until("it serves", || get(&node.http, "/health").is_some());
    let ca = format!("{own}/ca.pem");
    get_by_tls(&node.http, Path::new(&ca), &format!("/key/{secret}")).0.text();

    let bundle = |file: &str, more: &[&str]| {
        let path = at(file);
        let (code, said, error) = hezong(
            &[
                &["debug", "bundle", &path, "--apart", "0", "--tls-ca", &ca, "-e", &format!("https://{}", node.http)],
                more,
            ]
            .concat(),
        );
        assert_eq!(code, 0, "{said}{error}");
        (unpacked(Path::new(&path)), said)
    };
    let (files, said) = bundle("without.tar.gz", &[]);
    assert!(said.contains("settings.toml is missing: ") && said.contains("takes the cluster's token"), "{said}");
    assert!(!files.keys().any(|path| path.ends_with("log.txt")), "{:?}", files.keys());

    let (files, said) = bundle("with.tar.gz", &["--token-file", &token]);
    assert!(!said.contains("missing"), "{said}");
    let settings = &files["nodes/1-node01/settings.toml"];
    assert!(settings.contains(&token) && settings.contains(&format!("{own}/node01.key")), "{settings}");
    let log = &files["nodes/1-node01/log.txt"];
    assert!(log.lines().count() > 3, "{log}");
    assert!(node.log_text().contains("HEZONG_TOKEN_FIL is no setting"), "{}", log.lines().next().unwrap());
    let keys = ["node01.key", "ca.key"].map(|name| fs::read_to_string(format!("{own}/{name}")).unwrap());
    let lines = keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with("-----"));
    let secrets: Vec<&str> = lines.chain([secret.as_str()]).collect();
    assert!(secrets.len() > 4, "{secrets:?}");
    for (path, text) in &files {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{path} holds a secret:\n{text}");
    }
}
