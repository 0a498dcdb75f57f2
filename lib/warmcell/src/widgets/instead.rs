//! What is to be read of a widget where none can be shown. The words are `display`'s; here is what they are
//! about: the widget and what it holds, as the user left them.

use std::collections::HashMap;

use ::display::widgets::instead;
use wire::{mime::Bundle, widget::WidgetState};

use super::handle::Handle;

/// What shows a widget, with its words beside it.
pub(super) fn bundle(widget: &Handle) -> Bundle {
    widget.open();
    let mut states = HashMap::new();
    gather(widget, &mut states);
    instead(widget.id(), &|id| states.get(id))
}

fn gather(widget: &Handle, states: &mut HashMap<String, WidgetState>) {
    states.insert(widget.id().to_owned(), widget.state());
    for child in widget.children() {
        gather(child, states);
    }
}

#[cfg(test)]
mod tests {
    use crate::widgets::{Checkbox, Dropdown, HBox, IntSlider, Output, VBox, Widget};
    use ::display::RichDisplay;

    #[test]
    fn a_box_reads_as_what_it_holds() {
        let slider = IntSlider::new(3).description("a < b");
        let (agree, list) = (Checkbox::new(true), Dropdown::new(["one", "two"]));
        list.set_value("two");
        let inner = HBox::new([&agree as &dyn Widget, &list]);
        let outer = VBox::new([&slider as &dyn Widget, &inner, &Output::new()]).bundle();
        assert_eq!(
            outer.get("text/plain"),
            Some("a < b: 3\nCheckbox: true\nDropdown: two")
        );
        assert_eq!(
            outer.get("text/html"),
            Some("<div><p>a &lt; b: 3</p><p>Checkbox: true</p><p>Dropdown: two</p></div>")
        );
    }
}
