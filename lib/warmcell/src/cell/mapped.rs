//! Which library a text of this process lies in. The source of every cell has the same name for the compiler; a
//! function that an earlier cell has left names a place in that cell's.

use std::fs;

/// The file of the library that holds this text.
pub(super) fn library_of(text: &str) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    mapped_at(&maps, text.as_ptr() as usize).map(str::to_owned)
}

/// `7f10-7f20 r--p 00001000 fd:01 7  /a/libctx.so` → `/a/libctx.so`.
fn mapped_at(maps: &str, address: usize) -> Option<&str> {
    let holds = |line: &&str| {
        let bounds = line.split(' ').next().and_then(|range| {
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some(number(start)?..number(end)?)
        });
        bounds.is_some_and(|bounds| bounds.contains(&address))
    };
    let line = maps.lines().find(holds)?;
    let path = line.splitn(6, ' ').nth(5)?.trim_start();
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_behind_an_address_is_found() {
        let maps = "1000-2000 r--p 00000000 fd:01 7      /a b/libctx.so\n2000-3000 rw-p 00000000 00:00 0 \n4000-5000 rw-p 00000000 00:00 0      [heap]\n";
        assert_eq!(mapped_at(maps, 0x1000), Some("/a b/libctx.so"));
        for address in [0x2000, 0x3000, 0x4000] {
            assert_eq!(mapped_at(maps, address), None, "{address:#x}");
        }
        let own = std::env::current_exe().expect("a path");
        assert_eq!(library_of("here"), own.to_str().map(str::to_owned));
        let on_the_heap = String::from("made here");
        assert_eq!(library_of(&on_the_heap), None);
    }
}
