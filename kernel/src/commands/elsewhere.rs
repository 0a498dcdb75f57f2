//! Commands of `IPython` that are not here: what does their work in this kernel. Who types one knows what
//! is wanted, and a command whose name only looks like it is no help.

/// What to write instead, for a hint; `None` for a name that `IPython` has not either.
pub fn hint(name: &str) -> Option<String> {
    let instead = match name {
        "pip" | "conda" | "mamba" | "uv" => {
            "a crate is added by `:dep serde = \"1\"`; Python's packages by `!pip install NAME`"
        }
        "who" | "whos" | "who_ls" | "who_list" => "`%vars` lists the variables",
        "pwd" => "`!pwd` shows the folder",
        "cd" => {
            "`std::env::set_current_dir(\"FOLDER\")?` changes the cells' folder, \
             `!cd FOLDER && COMMAND` that of a command"
        }
        "lsmagic" | "magic" | "quickref" => "`%help` lists all commands",
        "matplotlib" | "pylab" => {
            "charts need no preparation: a cell's last line shows its value, `display(value)` any other"
        }
        "load_ext" | "reload_ext" | "unload_ext" | "autoreload" => {
            "there are no extensions; a crate is added by `:dep NAME = \"VERSION\"`"
        }
        "run" => "`!COMMAND` runs a program, `!python FILE` one of Python",
        "history" | "hist" | "recall" | "rerun" => {
            "`_5` is the value of cell 5; the texts of cells are the front end's"
        }
        "ls" | "ll" | "cat" | "mkdir" | "rm" | "rmdir" | "cp" | "mv" | "less" | "more" | "man" => {
            return Some(format!("`!{name}` does it in the shell"));
        }
        "sx" | "system" | "sh" | "script" | "cmd" => {
            "`!COMMAND` runs a line in the shell, `%%bash` the rest of the cell"
        }
        "pinfo" | "pinfo2" | "pdoc" | "psource" => "`?NAME` shows documentation",
        "html" | "HTML" | "markdown" | "latex" | "svg" => {
            "`Html(\"…\")` and `Markdown(\"…\")` as a cell's last line show it"
        }
        "set_env" => "`%env NAME=VALUE` sets a variable of the environment",
        "reset_selective" | "xdel" => "`%reset` forgets all variables, `drop(name)` lets one go",
        "file" => "`%%writefile PATH` writes the rest of the cell to a file",
        _ => return None,
    };
    Some(instead.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::find;

    /// `%pip` was answered by "did you mean `%pin`?".
    #[test]
    fn commands_of_ipython_lead_to_what_does_it_here() {
        for (name, instead) in [
            ("pip", ":dep"),
            ("who", "%vars"),
            ("whos", "%vars"),
            ("cd", "set_current_dir"),
            ("pwd", "!pwd"),
            ("lsmagic", "%help"),
            ("matplotlib", "display(value)"),
            ("load_ext", ":dep"),
            ("run", "!COMMAND"),
            ("history", "_5"),
            ("ls", "`!ls`"),
        ] {
            let hint = hint(name).unwrap_or_default();
            assert!(hint.contains(instead), "{name}: {hint}");
            assert!(find(name).is_none(), "{name} is a command");
        }
        assert_eq!(hint("modles"), None);
    }
}
