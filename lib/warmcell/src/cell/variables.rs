//! The cells' variables, by name. evcxr writes this store into every cell; the cell compiler refers
//! to this one instead, so that it is compiled once and not once a cell. Names and signatures are
//! evcxr's (`evcxr_internal_runtime.rs`).

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    process,
    sync::Arc,
};

use wire::cell::VariableValue;

use super::values::Form;

/// Marker that evcxr's generated code names; nothing prints it.
pub const USER_ERROR_OCCURRED: &str = "";

/// Values by the name of their variable.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any>>,
    /// How they are described, for those whose `let` said so.
    forms: HashMap<String, Form>,
}

/// What cells share, and the process that made it.
struct Shared<T> {
    process: u32,
    value: Arc<T>,
}

/// A store for a process's first cell. It lives as long as the process.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}

/// What evcxr, which cannot be told to forget a variable, is told that one holds that is gone.
#[derive(Debug)]
pub struct Gone;

/// The type `!`, which stable Rust names only as what a function returns. A variable may well have
/// it in its type: `thread::spawn(|| loop { … })` gives a `JoinHandle<!>`.
pub type Never = <fn() -> ! as Returns>::Value;

/// What a function returns.
pub trait Returns {
    type Value;
}

impl<T> Returns for fn() -> T {
    type Value = T;
}

/// Stands for a value that a cell compiled in another way has put into the store. What calls it is
/// read by evcxr and never run.
///
/// # Panics
/// Always.
pub fn elsewhere<T>() -> T {
    panic!("this code is never run")
}

impl VariableStore {
    /// Keeps a value for later cells.
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        if TypeId::of::<T>() != TypeId::of::<Gone>() {
            self.put_described(name, Box::new(value));
        }
    }

    /// Whether a variable still has the type that evcxr recorded. When it does not, because the type
    /// was defined anew, the variable is reported as lost.
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        let fits = self.get(name).is_none_or(<dyn Any>::is::<T>);
        if !fits {
            lost(name);
        }
        fits
    }

    /// Takes a value out, for the cell that now runs.
    ///
    /// # Panics
    /// The variable is missing or has another type: [`Self::check_variable`] was not called.
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        if TypeId::of::<T>() == TypeId::of::<Gone>() {
            self.put(name, Box::new(Gone));
        }
        match self.take(name).downcast() {
            Ok(value) => *value,
            Err(_) => changed_type(name),
        }
    }

    /// Keeps the value of a variable that this cell made. The number is for the kernel, which finds
    /// the type beside it in the compiled form.
    pub fn put_new<const NUMBER: usize, T: 'static>(
        &mut self,
        name: &str,
        form: Option<Form>,
        value: T,
    ) {
        self.keep(name, form, Box::new(value));
    }

    /// Whether all of these variables have the types that the kernel recorded; those that have not
    /// are reported as lost.
    pub fn check(&self, expected: &[(&str, TypeId)]) -> bool {
        let mut fit = true;
        for &(name, type_id) in expected {
            if self.get(name).map(<dyn Any>::type_id) != Some(type_id) {
                lost(name);
                fit = false;
            }
        }
        fit
    }

    /// Lets go of the values of variables that cells cannot name any more. One that panics at its
    /// end is no failure of the cell that happens to run now.
    pub fn forget(&mut self, names: &[&str]) {
        for name in names {
            let value = self.variables.remove(*name);
            self.forms.remove(*name);
            if panic::catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
                super::panicked_at_its_end(name);
            }
        }
    }

    /// A value that is shared between cells and made when it is first asked for: the asynchronous
    /// runtime. A process that was forked makes its own, since the threads of the other are not in it.
    ///
    /// # Panics
    /// The name is in use for another type.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        let process = process::id();
        let inherited = self
            .get(name)
            .and_then(<dyn Any>::downcast_ref::<Shared<T>>)
            .is_some_and(|shared| shared.process != process);
        if inherited {
            // To drop it is to wait for its threads.
            std::mem::forget(self.variables.remove(name));
        }
        if self.get(name).is_none() {
            let value = Arc::new(create());
            self.put(name, Box::new(Shared { process, value }));
        }
        match self
            .get(name)
            .and_then(<dyn Any>::downcast_ref::<Shared<T>>)
        {
            Some(shared) => Arc::clone(&shared.value),
            None => changed_type(name),
        }
    }

    fn keep(&mut self, name: &str, form: Option<Form>, value: Box<dyn Any>) {
        match form {
            Some(form) => self.forms.insert(name.to_owned(), form),
            None => self.forms.remove(name),
        };
        self.put_described(name, value);
    }

    /// Tells the kernel what is in the variable now.
    fn put_described(&mut self, name: &str, value: Box<dyn Any>) {
        let described = self.forms.get(name).and_then(|form| form(&*value, name));
        super::variable_put(described.unwrap_or_else(|| VariableValue {
            name: name.to_owned(),
            value: None,
            extent: None,
        }));
        self.put(name, value);
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        self.variables.insert(name.to_owned(), value);
    }

    fn get(&self, name: &str) -> Option<&dyn Any> {
        self.variables.get(name).map(|value| &**value)
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        match self.variables.remove(name) {
            Some(value) => value,
            None => panic!("variable `{name}` has gone missing"),
        }
    }
}

fn lost(name: &str) {
    super::variable_lost(name);
    let line =
        format!("the type of the variable `{name}` was defined anew: the variable is gone\n");
    // In one piece: another thread may print as well.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

fn changed_type(name: &str) -> ! {
    panic!("variable `{name}` has another type than its name says")
}
