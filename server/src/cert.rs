//! `hezong cert`: an authority for a cluster, and with it certificates for its nodes and clients, and a token. For
//! development and for those who have no authority of their own; it needs no cluster and asks nobody.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use hezong_tls::make::{Authority, Pair, Validity};
use zeroize::Zeroizing;

use crate::say;

/// What everybody may read, and what its owner alone may.
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// `hezong cert`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        hezong cert authority secrets\n  \
        hezong cert node node01 --host host1 --host 10.0.0.1 --authority secrets --out node01\n  \
        hezong cert client ann --authority secrets --out ann\n  \
        hezong cert token token\n\n\
    docs/security.md tells what is checked, and how certificates are renewed.")]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes an authority: ca.pem for everybody, ca.key for nobody else.
    Authority {
        /// Where to.
        dir: PathBuf,
        /// For how many days it is meant.
        #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Makes a node's certificate and key, and puts ca.pem beside them.
    Node {
        /// The node's label, as its --id says.
        label: String,
        /// A name or address under which clients reach it; may be repeated.
        #[arg(long = "host", value_name = "HOST", required = true)]
        hosts: Vec<String>,
        #[command(flatten)]
        sign: Sign,
    },
    /// Makes a client's certificate and key, for clusters that ask clients for one.
    Client {
        /// The client's name.
        name: String,
        #[command(flatten)]
        sign: Sign,
    },
    /// Makes a token, for joining.
    Token {
        /// The file.
        file: PathBuf,
    },
}

/// Who signs, and where to.
#[derive(Debug, clap::Args)]
struct Sign {
    /// The folder of the authority.
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Where to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how many days it holds.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replaces what is there; a node that runs takes it into use by itself.
    #[arg(long)]
    renew: bool,
}

pub(crate) fn run(args: CertArgs) -> Result<()> {
    match args.what {
        What::Authority { dir, days } => make_authority(&dir, days),
        What::Node { label, hosts, sign } => {
            let authority = sign.authority()?;
            sign.write(&label, &authority, &authority.node(&label, &hosts, Validity::days(sign.days))?)
        }
        What::Client { name, sign } => {
            let authority = sign.authority()?;
            sign.write(&name, &authority, &authority.client(&name, Validity::days(sign.days))?)
        }
        What::Token { file } => make_token(&file),
    }
}

fn make_authority(dir: &Path, days: u32) -> Result<()> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    absent(
        &[&certificate, &key],
        "an authority is not replaced, or nobody would believe what it signed; name another folder",
    )?;
    let authority = Authority::new(Validity::days(days))?;
    fs::create_dir_all(dir).with_context(|| format!("the folder {} cannot be made", dir.display()))?;
    write(&key, &authority.key(), SECRET)?;
    write(&certificate, authority.certificate(), PUBLIC)?;
    say::line(format!("{}  give it to every node and client", certificate.display()));
    say::line(format!("{}  keep it: whoever has it can be any node", key.display()));
    Ok(())
}

fn make_token(file: &Path) -> Result<()> {
    absent(&[file], "remove it, or name another file")?;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| anyhow!("the system has no entropy: {error}"))?;
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len() + 1));
    for byte in bytes.iter() {
        text.push_str(&Zeroizing::new(format!("{byte:02x}")));
    }
    text.push('\n');
    write(file, &text, SECRET)?;
    say::line(format!("{}  give it to every node: --token-file", file.display()));
    Ok(())
}

impl Sign {
    fn authority(&self) -> Result<Authority> {
        Ok(Authority::read(&self.authority.join("ca.pem"), &self.authority.join("ca.key"))?)
    }

    fn write(&self, name: &str, authority: &Authority, pair: &Pair) -> Result<()> {
        let path = |end: &str| self.out.join(format!("{name}.{end}"));
        let (certificate, key, believed) = (path("pem"), path("key"), self.out.join("ca.pem"));
        if !self.renew {
            absent(&[&certificate, &key], "--renew replaces it")?;
        }
        // Whom it is believed with lies beside it, and is never replaced: it may hold a second authority on purpose.
        let found = fs::read_to_string(&believed).ok();
        if found.as_ref().is_some_and(|found| !found.contains(authority.certificate())) {
            bail!(
                "{} is of another authority than {}; name another --out",
                believed.display(),
                self.authority.display()
            );
        }
        fs::create_dir_all(&self.out).with_context(|| format!("the folder {} cannot be made", self.out.display()))?;
        if found.is_none() {
            write(&believed, authority.certificate(), PUBLIC)?;
        }
        write(&key, &pair.key, SECRET)?;
        write(&certificate, &pair.certificate, PUBLIC)?;
        say::line(format!(
            "--tls-cert {} --tls-key {} --tls-ca {}",
            certificate.display(),
            key.display(),
            believed.display()
        ));
        Ok(())
    }
}

fn absent(paths: &[&Path], remedy: &str) -> Result<()> {
    match paths.iter().find(|path| path.exists()) {
        None => Ok(()),
        Some(found) => bail!("{} is there already: {remedy}", found.display()),
    }
}

/// Writes a file whole or not at all, never readable by more than it is to be.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        // Left behind by one that was interrupted, with a mode of its own.
        fs::remove_file(&new).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
