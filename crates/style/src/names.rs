//! Collects the names of types, the errors among them, and which public items have documentation.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::sources::Source;

/// The names of a package, without those of test code.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) types: Vec<TypeName>,
    /// Names of types that implement `Error`.
    pub(crate) errors: BTreeSet<String>,
    /// Names in the second place of a `Result`.
    pub(crate) failures: BTreeSet<String>,
    pub(crate) public: usize,
    pub(crate) documented: usize,
    pub(crate) unsafe_lines: Vec<(String, usize)>,
}

/// The definition of a struct, enum, union, trait or alias.
pub(crate) struct TypeName {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) line: usize,
}

impl Names {
    /// Returns the types that are errors, with or without a name that ends so.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &TypeName> {
        let is_error = |name: &TypeName| {
            let is_negated = is_negated(&name.name) && self.failures.contains(&name.name);
            self.errors.contains(&name.name) || is_negated
        };
        self.types.iter().filter(move |name| is_error(name))
    }
}

/// Returns true for names like `NoFrame` and `NotOpened`.
pub(crate) fn is_negated(name: &str) -> bool {
    ["No", "Not"].into_iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(char::is_uppercase))
    })
}

/// Adds the names that a file defines.
pub(crate) fn collect(source: &Source, names: &mut Names) {
    Collector { source, names }.visit_file(&source.syntax);
    let unsafe_tokens = source
        .tokens
        .iter()
        .filter(|token| token.text == "unsafe" && !source.is_test_at(token.at.start));
    names
        .unsafe_lines
        .extend(unsafe_tokens.map(|token| (source.path.clone(), token.line)));
}

struct Collector<'a> {
    source: &'a Source,
    names: &'a mut Names,
}

impl Collector<'_> {
    fn is_test(&self, name: &syn::Ident) -> bool {
        self.source.is_test_at(name.span().byte_range().start)
    }

    fn define(&mut self, name: &syn::Ident, attributes: &[syn::Attribute]) {
        if self.is_test(name) {
            return;
        }
        self.names.types.push(TypeName {
            name: name.to_string(),
            path: self.source.path.clone(),
            line: name.span().start().line,
        });
        if attributes.iter().any(derives_error) {
            self.names.errors.insert(name.to_string());
        }
    }

    fn publish(
        &mut self,
        name: &syn::Ident,
        visibility: &syn::Visibility,
        attributes: &[syn::Attribute],
    ) {
        if self.is_test(name) || !matches!(visibility, syn::Visibility::Public(_)) {
            return;
        }
        self.names.public += 1;
        let has_doc = attributes
            .iter()
            .any(|attribute| attribute.path().is_ident("doc"));
        self.names.documented += usize::from(has_doc);
    }
}

impl<'a> Visit<'a> for Collector<'_> {
    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.define(&item.ident, &item.attrs);
        self.publish(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.define(&item.ident, &item.attrs);
        self.publish(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.define(&item.ident, &item.attrs);
        self.publish(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        self.define(&item.ident, &item.attrs);
        self.publish(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_type(self, item);
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.publish(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_const(self, item);
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.publish(&item.sig.ident, &item.vis, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.publish(&item.sig.ident, &item.vis, &item.attrs);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let implemented = item
            .trait_
            .as_ref()
            .and_then(|(path, _)| path.segments.last());
        let is_error = implemented.is_some_and(|segment| segment.ident == "Error");
        if let Some(name) = type_name(&item.self_ty).filter(|_| is_error) {
            self.names.errors.insert(name);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
        if let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments
            && segment.ident == "Result"
            && let Some(syn::GenericArgument::Type(failure)) = arguments.args.iter().nth(1)
        {
            self.names.failures.extend(type_name(failure));
        }
        visit::visit_path_segment(self, segment);
    }
}

fn type_name(kind: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = kind else {
        return None;
    };
    path.path
        .segments
        .last()
        .map(|segment| segment.ident.to_string())
}

/// Returns true for `#[derive(Error)]` and `#[derive(thiserror::Error)]`.
fn derives_error(attribute: &syn::Attribute) -> bool {
    let mut is_error = false;
    if attribute.path().is_ident("derive") {
        // A derive that cannot be parsed is the compiler's business.
        let _ = attribute.parse_nested_meta(|derived| {
            is_error |= derived
                .path
                .segments
                .last()
                .is_some_and(|segment| segment.ident == "Error");
            Ok(())
        });
    }
    is_error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Names {
        let mut names = Names::default();
        collect(
            &Source::parse("src/x.rs".into(), text.into()).unwrap(),
            &mut names,
        );
        names
    }

    #[test]
    fn errors_are_known_by_their_trait_or_by_a_negation_in_a_result() {
        let names = names(
            "#[derive(Debug, thiserror::Error)]\nenum Missing {}\nstruct Broken;\n\
             impl std::error::Error for Broken {}\nstruct NoFrame;\nstruct Node;\n\
             fn f() -> Result<(), NoFrame> {}\nfn g() -> Result<(), Node> {}\n",
        );

        let errors: Vec<_> = names.errors().map(|error| error.name.as_str()).collect();

        assert_eq!(errors, ["Missing", "Broken", "NoFrame"]);
    }

    #[test]
    fn public_items_and_unsafe_are_counted_outside_of_tests() {
        let names = names(
            "/// Doc.\npub struct A;\npub struct B;\npub(crate) struct C;\nfn f() { unsafe { g() } }\n\
             #[cfg(test)]\nmod tests {\n    pub struct D;\n    fn h() { unsafe { g() } }\n}\n",
        );

        assert_eq!((names.public, names.documented), (2, 1));
        assert_eq!(names.types.len(), 3);
        assert_eq!(names.unsafe_lines, [("src/x.rs".to_owned(), 5)]);
    }
}
