//! Certificates for nodes of a trial, as the program's own authority makes them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority in a folder of its own.
pub struct Authority {
    program: PathBuf,
    folder: PathBuf,
}

impl Authority {
    /// Has the program make one.
    pub fn new(program: &Path, folder: PathBuf) -> io::Result<Self> {
        cert(program, &["authority".into(), folder.clone()])?;
        Ok(Self { program: program.to_owned(), folder })
    }

    /// Whom clients and nodes are to believe.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for the node of this label at these hosts; the flags that give it to the node. Its files go below `out`.
    pub fn flags_of(&self, label: &str, hosts: &[&str], out: &Path) -> io::Result<Vec<String>> {
        let hosts = hosts.iter().flat_map(|host| ["--host", host]);
        let mut args: Vec<PathBuf> = ["node", label].into_iter().chain(hosts).map(PathBuf::from).collect();
        args.extend(["--authority".into(), self.folder.clone(), "--out".into(), out.to_owned()]);
        let flags = cert(&self.program, &args)?;
        Ok(flags.split_whitespace().map(str::to_owned).collect())
    }
}

/// Runs `hezong cert`, and returns what it printed.
fn cert(program: &Path, args: &[PathBuf]) -> io::Result<String> {
    let output = Command::new(program).arg("cert").args(args).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
