//! A profile that a caller names: `ctl` reads it, since the daemon opens no path of a caller's.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use adit_profile::Access;
use zeroize::Zeroizing;

/// The most that is read, in octets: more than any profile with its certificates has.
const LONGEST: usize = 512 * 1024;

/// Its text, and who can read it; `-` is standard input, of which that is not known.
///
/// # Errors
/// It can't be read, is no UTF-8, or is longer than a profile is: a part of it would be another profile.
pub(crate) fn content(path: &Path) -> io::Result<(Zeroizing<String>, Option<Access>)> {
    if path == Path::new("-") {
        return Ok((text(io::stdin().lock())?, None));
    }
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let adit_gid = adit_group().map(|group| group.gid.as_raw());
    Ok((text(file)?, Some(Access { mode: metadata.mode(), gid: metadata.gid(), adit_gid })))
}

/// The daemon's group.
pub(crate) fn adit_group() -> Option<nix::unistd::Group> {
    nix::unistd::Group::from_name("adit").ok().flatten()
}

/// All of it, which is at most so many octets. With its room from the beginning: what it outgrew would not be wiped.
///
/// # Errors
/// It can't be read, or is longer: a part of it would be something else.
pub(crate) fn whole(from: impl Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = most.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.take(u64::try_from(room).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let text = format!("longer than the {} KiB that it may have", most / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

fn text(from: impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = whole(from, LONGEST)?;
    match String::from_utf8(std::mem::take(&mut bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let longest = vec![b'#'; LONGEST];
        assert_eq!(text(longest.as_slice()).unwrap().len(), LONGEST);
        let longer = vec![b'#'; LONGEST + 1];
        assert_eq!(text(longer.as_slice()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(text(&b"\xff"[..]).unwrap_err().to_string(), "it is no UTF-8");
    }
}
