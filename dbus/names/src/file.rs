//! `/etc/resolv.conf` itself. What was there is kept beside, on disk, before the file is replaced; what others have written
//! meanwhile is theirs, and stays.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::{Names, Place};

/// As many are asked (resolv.conf(5)).
const MOST_SERVERS: usize = 3;

/// What was there before.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Former {
    Nothing,
    /// A link to somewhere.
    Link(PathBuf),
    /// A file: its mode, and what it says.
    File(u32, String),
}

/// # Errors
/// The file is as it was, unless the disk failed in between: then it is put back with the next [`clear`].
pub(crate) fn set(place: &Place, names: Names) -> io::Result<()> {
    let state = State::open(place)?;
    if !state.is_ours() {
        state.keep(&Former::of(&place.resolv_conf)?)?;
    }
    let mut links = state.links();
    links.retain(|other| other.link != names.link);
    links.insert(0, names);
    state.write(&links)
}

/// # Errors
/// The file could not be put back.
pub(crate) fn clear(place: &Place, link: &str) -> io::Result<()> {
    if !place.state.exists() {
        return Ok(());
    }
    let state = State::open(place)?;
    let mut links = state.links();
    links.retain(|other| other.link != link);
    match (state.is_ours(), links.is_empty()) {
        (true, false) => state.write(&links),
        (false, false) => state.remember(&links),
        (true, true) => state.former()?.put_back(&place.resolv_conf).and_then(|()| state.forget()),
        (false, true) => state.forget(),
    }
}

/// What is kept: the links, newest first; what was there before; and what was written.
struct State<'a> {
    place: &'a Place,
    _lock: Flock<File>,
}

impl<'a> State<'a> {
    /// One at a time.
    fn open(place: &'a Place) -> io::Result<Self> {
        fs::create_dir_all(&place.state)?;
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(place.state.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Self { place, _lock: lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.state.join(name)
    }

    /// Whether the file is as it was written here.
    fn is_ours(&self) -> bool {
        let is_file = fs::symlink_metadata(&self.place.resolv_conf).is_ok_and(|file| file.is_file());
        let written = fs::read(self.path("written"));
        is_file
            && written.is_ok_and(|written| fs::read(&self.place.resolv_conf).is_ok_and(|now| now == written))
    }

    fn links(&self) -> Vec<Names> {
        let text = fs::read_to_string(self.path("links")).unwrap_or_default();
        let lines = |part: &str| part.lines().map(str::to_owned).collect::<Vec<_>>();
        text.split("\n\n").filter_map(|part| Names::of(&lines(part)).ok()).collect()
    }

    fn remember(&self, links: &[Names]) -> io::Result<()> {
        let text: Vec<String> = links.iter().map(Names::emit).collect();
        replace(&self.path("links"), text.join("\n").as_bytes(), 0o600)
    }

    fn keep(&self, former: &Former) -> io::Result<()> {
        let text = match former {
            Former::Nothing => "nothing\n".to_owned(),
            Former::Link(target) => format!("link {}\n", target.display()),
            Former::File(mode, text) => format!("file {mode:o}\n{text}"),
        };
        replace(&self.path("former"), text.as_bytes(), 0o600)
    }

    fn former(&self) -> io::Result<Former> {
        let text = fs::read_to_string(self.path("former"))?;
        let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let odd = || io::Error::other("what was there before is not known");
        match head.split_once(' ') {
            None if head == "nothing" => Ok(Former::Nothing),
            Some(("link", target)) => Ok(Former::Link(target.into())),
            Some(("file", mode)) => {
                Ok(Former::File(u32::from_str_radix(mode, 8).map_err(|_| odd())?, rest.to_owned()))
            }
            _ => Err(odd()),
        }
    }

    /// The file, as these links want it.
    fn write(&self, links: &[Names]) -> io::Result<()> {
        self.remember(links)?;
        let before = match self.former()? {
            Former::Nothing => String::new(),
            Former::File(_, text) => text,
            // Relative ones begin in the file's folder.
            Former::Link(target) => {
                let folder = self.place.resolv_conf.parent().unwrap_or(Path::new("/"));
                fs::read_to_string(folder.join(target)).unwrap_or_default()
            }
        };
        let text = resolv_conf(links, &before);
        // First what will be known as ours: a file that says something else is another's.
        replace(&self.path("written"), text.as_bytes(), 0o600)?;
        put(&self.place.resolv_conf, text.as_bytes(), 0o644)
    }

    fn forget(&self) -> io::Result<()> {
        for name in ["written", "links", "former"] {
            match fs::remove_file(self.path(name)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Former {
    fn of(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Self::Nothing),
            Err(why) => Err(why),
            Ok(facts) if facts.is_symlink() => fs::read_link(path).map(Self::Link),
            Ok(facts) => {
                let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
                Ok(Self::File(facts.permissions().mode() & 0o7777, text))
            }
        }
    }

    fn put_back(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Nothing => fs::remove_file(path),
            Self::File(mode, text) => put(path, text.as_bytes(), *mode),
            Self::Link(target) => {
                let beside = beside(path);
                let _ = fs::remove_file(&beside);
                symlink(target, &beside)?;
                fs::rename(&beside, path)
            }
        }
    }
}

/// The lines of a link alone, as resolvconf takes them, too.
pub(crate) fn lines_of(names: &Names) -> String {
    let mut out: String = names.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !names.search.is_empty() {
        out += &format!("search {}\n", names.search.join(" "));
    }
    out
}

/// What the file says with these links, newest first, where it said `before`.
fn resolv_conf(links: &[Names], before: &str) -> String {
    let words = |key: &'static str| {
        let of_line = move |line: &'_ str| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        };
        before.lines().filter_map(of_line).flatten().collect::<Vec<_>>()
    };
    let mut servers: Vec<String> = Vec::new();
    let mut search: Vec<String> = Vec::new();
    let add = |list: &mut Vec<String>, more: Vec<String>| {
        more.into_iter().for_each(|one| {
            if !list.contains(&one) {
                list.push(one)
            }
        });
    };
    for names in links {
        add(&mut servers, names.servers.iter().map(ToString::to_string).collect());
        add(&mut search, names.search.clone());
    }
    if !links.iter().any(|names| names.only) {
        add(&mut servers, words("nameserver"));
    }
    add(&mut search, words("search"));
    servers.truncate(MOST_SERVERS);
    let names: Vec<&str> = links.iter().map(|names| names.link.as_str()).collect();
    let mut out = format!("# Written by Adit for {}. What was here before comes back.\n", names.join(", "));
    servers.iter().for_each(|server| out += &format!("nameserver {server}\n"));
    if !search.is_empty() {
        out += &format!("search {}\n", search.join(" "));
    }
    let kept = before.lines().filter(|line| line.starts_with("options") || line.starts_with("sortlist"));
    kept.for_each(|line| out += &format!("{line}\n"));
    out
}

/// In one step where the folder lets it be; a file that is mounted there (in a container) can only be overwritten.
fn put(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    match replace(path, text, mode) {
        Err(why) if why.kind() == io::ErrorKind::ResourceBusy => fs::write(path, text),
        done => done,
    }
}

fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    let written = || {
        let mut file = File::create(&beside)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".adit");
    name.into()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let (resolv_conf, state) = (folder.path().join("resolv.conf"), folder.path().join("state"));
        let place = Place { resolv_conf, state, resolvconf: Vec::new() };
        (folder, place)
    }

    fn names(link: &str, server: &str, only: bool) -> Names {
        Names {
            link: link.into(),
            servers: vec![server.parse().unwrap()],
            search: vec!["corp.example.com".into()],
            only,
        }
    }

    fn now(place: &Place) -> String {
        fs::read_to_string(&place.resolv_conf).unwrap()
    }

    const BEFORE: &str = "nameserver 192.0.2.53\nsearch home.example\noptions edns0\n";

    #[test]
    fn a_file_is_replaced_and_comes_back_as_it_was() {
        let (_folder, place) = place();
        fs::write(&place.resolv_conf, BEFORE).unwrap();
        fs::set_permissions(&place.resolv_conf, Permissions::from_mode(0o640)).unwrap();
        set(&place, names("adit0", "10.1.0.53", true)).unwrap();
        let expected = "# Written by Adit for adit0. What was here before comes back.\n\
                        nameserver 10.1.0.53\nsearch corp.example.com home.example\noptions edns0\n";
        assert_eq!(now(&place), expected);
        clear(&place, "adit0").unwrap();
        assert_eq!(now(&place), BEFORE);
        assert_eq!(fs::metadata(&place.resolv_conf).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(&place.state).unwrap().count(), 1, "the lock");
    }

    #[test]
    fn a_split_tunnels_servers_come_first() {
        let (_folder, place) = place();
        fs::write(&place.resolv_conf, BEFORE).unwrap();
        set(&place, names("adit0", "10.1.0.53", false)).unwrap();
        assert!(now(&place).contains("nameserver 10.1.0.53\nnameserver 192.0.2.53\n"), "{}", now(&place));
    }

    #[test]
    fn a_link_is_a_link_again_and_nothing_is_nothing() {
        let (folder, place) = place();
        fs::write(folder.path().join("stub"), BEFORE).unwrap();
        symlink("stub", &place.resolv_conf).unwrap();
        set(&place, names("adit0", "10.1.0.53", false)).unwrap();
        assert!(now(&place).contains("192.0.2.53"), "{}", now(&place));
        assert_eq!(fs::read_to_string(folder.path().join("stub")).unwrap(), BEFORE);
        clear(&place, "adit0").unwrap();
        assert_eq!(fs::read_link(&place.resolv_conf).unwrap(), Path::new("stub"));
        fs::remove_file(&place.resolv_conf).unwrap();
        set(&place, names("adit0", "10.1.0.53", true)).unwrap();
        clear(&place, "adit0").unwrap();
        assert!(!place.resolv_conf.exists());
    }

    #[test]
    fn two_links_share_it_and_the_last_gives_it_back() {
        let (_folder, place) = place();
        fs::write(&place.resolv_conf, BEFORE).unwrap();
        set(&place, names("adit0", "10.1.0.53", false)).unwrap();
        set(&place, names("ppp0", "10.2.0.53", true)).unwrap();
        assert!(
            now(&place).contains("nameserver 10.2.0.53\nnameserver 10.1.0.53\nsearch"),
            "{}",
            now(&place)
        );
        clear(&place, "ppp0").unwrap();
        assert!(now(&place).contains("nameserver 10.1.0.53\nnameserver 192.0.2.53\n"), "{}", now(&place));
        clear(&place, "nobody").unwrap();
        clear(&place, "adit0").unwrap();
        assert_eq!(now(&place), BEFORE);
    }

    #[test]
    fn what_another_has_written_meanwhile_stays() {
        let (_folder, place) = place();
        fs::write(&place.resolv_conf, BEFORE).unwrap();
        set(&place, names("adit0", "10.1.0.53", true)).unwrap();
        fs::write(&place.resolv_conf, "nameserver 192.0.2.1\n").unwrap();
        clear(&place, "adit0").unwrap();
        assert_eq!(now(&place), "nameserver 192.0.2.1\n");
        // And is what comes back the next time.
        set(&place, names("adit0", "10.1.0.53", true)).unwrap();
        clear(&place, "adit0").unwrap();
        assert_eq!(now(&place), "nameserver 192.0.2.1\n");
        clear(&place, "adit0").unwrap();
    }
}
