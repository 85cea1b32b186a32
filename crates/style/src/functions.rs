//! Measures functions: their size in lines and tokens, their air, and shapes that are hard to read.

use syn::visit::{self, Visit};

use crate::sources::Source;

/// The measures of one function with a body.
pub(crate) struct Function {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) is_test: bool,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
    pub(crate) tokens: usize,
    /// Lines between the braces, and the blank ones of them.
    pub(crate) body_lines: usize,
    pub(crate) blank_lines: usize,
    pub(crate) arguments: usize,
    /// Lines with `let (a, b) = (x, y)`.
    pub(crate) tuple_lets: Vec<usize>,
    /// Lines with a `match` that has `true` or `false` as a pattern.
    pub(crate) bool_matches: Vec<usize>,
    /// Lines with `unwrap`, `panic!` and their kind.
    pub(crate) panics: Vec<usize>,
    pub(crate) expects: Vec<usize>,
    pub(crate) is_test_case: bool,
}

/// Measures all functions of a file.
pub(crate) fn find(source: &Source) -> Vec<Function> {
    let mut finder = Finder {
        source,
        open: Vec::new(),
        found: Vec::new(),
    };
    finder.visit_file(&source.syntax);
    finder.found.extend(test_cases_in_macros(source));
    finder.found
}

struct Finder<'a> {
    source: &'a Source,
    open: Vec<Function>,
    found: Vec<Function>,
}

impl<'a> Finder<'a> {
    fn enter(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        body: &syn::Block,
    ) {
        let start = signature.fn_token.span.byte_range().start;
        let braces = body.brace_token.span;
        let end = braces.close().byte_range().end;
        let tokens = &self.source.tokens;
        let first = tokens.partition_point(|token| token.at.start < start);
        let last = tokens.partition_point(|token| token.at.start < end);

        let first_line = signature.fn_token.span.start().line;
        let open_line = braces.open().start().line;
        let close_line = braces.close().start().line;
        let body_lines = close_line.saturating_sub(open_line + 1);
        let inner = self.source.text.lines().skip(open_line).take(body_lines);

        self.open.push(Function {
            path: self.source.path.clone(),
            line: first_line,
            name: signature.ident.to_string(),
            is_test: self.source.is_test_at(start),
            lines: close_line + 1 - first_line,
            tokens: last - first,
            body_lines,
            blank_lines: inner.filter(|line| line.trim().is_empty()).count(),
            arguments: signature.inputs.len(),
            tuple_lets: Vec::new(),
            bool_matches: Vec::new(),
            panics: Vec::new(),
            expects: Vec::new(),
            is_test_case: attributes.iter().any(is_test_attribute),
        });
    }

    fn leave(&mut self) {
        self.found.extend(self.open.pop());
    }
}

impl<'a> Visit<'a> for Finder<'a> {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.enter(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
        self.leave();
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.enter(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
        self.leave();
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        let Some(body) = &item.default else {
            return;
        };
        self.enter(&item.attrs, &item.sig, body);
        visit::visit_trait_item_fn(self, item);
        self.leave();
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        let value = local.init.as_ref().map(|init| &*init.expr);
        let pattern = match &local.pat {
            syn::Pat::Type(typed) => &*typed.pat,
            other => other,
        };
        let is_pair =
            matches!(pattern, syn::Pat::Tuple(_)) && matches!(value, Some(syn::Expr::Tuple(_)));
        if let Some(function) = self.open.last_mut().filter(|_| is_pair) {
            function.tuple_lets.push(local.let_token.span.start().line);
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_match(&mut self, expression: &'a syn::ExprMatch) {
        let on_bool = expression.arms.iter().any(|arm| is_bool(&arm.pat));
        if let Some(function) = self.open.last_mut().filter(|_| on_bool) {
            function
                .bool_matches
                .push(expression.match_token.span.start().line);
        }
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        if let Some(function) = self.open.last_mut() {
            if call.method == "unwrap" && call.args.is_empty() {
                function.panics.push(line);
            }
            if call.method == "expect" && call.args.len() == 1 {
                function.expects.push(line);
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        let panics = ["panic", "unreachable", "todo", "unimplemented"];
        if let Some(segment) = called.path.segments.last()
            && panics.iter().any(|panic| segment.ident == panic)
            && let Some(function) = self.open.last_mut()
        {
            function.panics.push(segment.ident.span().start().line);
        }
        visit::visit_macro(self, called);
    }
}

fn is_bool(pattern: &syn::Pat) -> bool {
    matches!(pattern, syn::Pat::Lit(literal) if matches!(literal.lit, syn::Lit::Bool(_)))
}

/// Returns true for `#[test]`, `#[tokio::test]` and their kind.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let name = attribute.path().segments.last();
    name.is_some_and(|segment| segment.ident == "test")
}

/// Finds test cases in macros such as `proptest!`: only their names can be measured.
fn test_cases_in_macros(source: &Source) -> Vec<Function> {
    let mut finder = MacroFinder(Vec::new());
    finder.visit_file(&source.syntax);
    let names = finder.0.into_iter().map(|name| Function {
        path: source.path.clone(),
        line: name.span().start().line,
        name: name.to_string(),
        is_test: source.is_test_at(name.span().byte_range().start),
        lines: 0,
        tokens: 0,
        body_lines: 0,
        blank_lines: 0,
        arguments: 0,
        tuple_lets: Vec::new(),
        bool_matches: Vec::new(),
        panics: Vec::new(),
        expects: Vec::new(),
        is_test_case: true,
    });
    names.collect()
}

struct MacroFinder(Vec<proc_macro2::Ident>);

impl<'a> Visit<'a> for MacroFinder {
    fn visit_macro(&mut self, called: &'a syn::Macro) {
        use proc_macro2::TokenTree::{Group, Ident};
        let trees: Vec<_> = called.tokens.clone().into_iter().collect();
        for window in trees.windows(3) {
            if let [Group(attribute), Ident(keyword), Ident(name)] = window
                && keyword == "fn"
                && attribute.stream().to_string().contains("test")
            {
                self.0.push(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(text: &str) -> Vec<Function> {
        find(&Source::parse("src/x.rs".into(), text.into()).unwrap())
    }

    #[test]
    fn lines_tokens_blank_lines_and_arguments_are_counted() {
        let functions = measure("/// Doc.\nfn f(a: u8, b: u8) {\n    g(a);\n\n    g(b);\n}\n");

        let f = &functions[0];
        assert_eq!((f.line, f.lines, f.body_lines, f.blank_lines), (2, 5, 3, 1));
        assert_eq!((f.tokens, f.arguments), (23, 2));
    }

    #[test]
    fn shapes_that_are_hard_to_read_are_found() {
        let functions = measure(
            "fn f() {\n    let (a, b) = (1, 2);\n    let (c, d) = pair();\n    match a > b {\n        \
             true => c.unwrap(),\n        false => panic!(\"x\"),\n    }\n    d.expect(\"there\");\n}\n",
        );

        let f = &functions[0];
        assert_eq!(f.tuple_lets, [2]);
        assert_eq!(f.bool_matches, [4]);
        assert_eq!(f.panics, [5, 6]);
        assert_eq!(f.expects, [8]);
    }

    #[test]
    fn test_cases_are_found_in_macros_too() {
        let functions = measure(
            "#[cfg(test)]\nmod tests {\n    #[tokio::test]\n    async fn one() {}\n    fn helper() {}\n    \
             proptest! {\n        #[test]\n        fn two(x: u8) {}\n    }\n}\n",
        );

        let cases: Vec<_> = functions
            .iter()
            .filter(|function| function.is_test && function.is_test_case)
            .map(|function| function.name.as_str())
            .collect();
        assert_eq!(cases, ["one", "two"]);
    }
}
