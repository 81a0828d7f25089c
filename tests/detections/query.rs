//! As much of KQL and of Splunk's search language as plain rules need: comparisons, wildcards,
//! `and`, `or`, `not` and parentheses. A list matches when one of its elements does. What a language
//! does not have is an error.

use serde_json::Value;

/// The language of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Kibana's. A value in quotes has no wildcards.
    Kql,
    /// The search command of Splunk, without pipes: terms stand side by side, case makes no
    /// difference, and `OR` binds more tightly than `AND`.
    Spl,
}

/// A query that has been read.
#[derive(Debug)]
pub(crate) struct Query {
    dialect: Dialect,
    expression: Expression,
}

#[derive(Debug)]
enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(String, Operator, Pattern),
    Not(Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    Is,
    /// At least one value differs; false where the field is missing.
    IsNot,
    Less,
    More,
}

/// The value that a comparison wants.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// Whether `*` in it stands for anything.
    allows_wildcards: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Quoted(String),
    Symbol(&'static str),
    Word(String),
}

const SYMBOLS: [&str; 10] = [">=", "<=", "!=", "(", ")", ":", "=", ">", "<", ","];

impl Query {
    /// Reads a query. The error says what was unexpected.
    pub(crate) fn parse(dialect: Dialect, text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            dialect,
            tokens: tokens(text)?,
            at: 0,
        };
        let expression = parser.parse_expression()?;
        match parser.tokens.get(parser.at) {
            None => Ok(Self {
                dialect,
                expression,
            }),
            Some(token) => Err(format!("{token:?} is left over")),
        }
    }

    /// Whether an event is among what the query finds.
    pub(crate) fn matches(&self, event: &Value) -> bool {
        self.expression.holds(self.dialect, event)
    }
}

impl Expression {
    fn holds(&self, dialect: Dialect, event: &Value) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(dialect, event)),
            Self::Any(any) => any.iter().any(|one| one.holds(dialect, event)),
            Self::Not(inner) => !inner.holds(dialect, event),
            Self::Compare(field, operator, wanted) => {
                let mut values = Vec::new();
                let path: Vec<&str> = field.split('.').collect();
                collect(event, &path, &mut values);
                let mut values = values.into_iter();
                values.any(|value| compare(dialect, value, *operator, wanted))
            }
        }
    }
}

/// The values at a path, over all elements of lists on the way.
fn collect<'v>(value: &'v Value, path: &[&str], found: &mut Vec<&'v Value>) {
    match (value, path) {
        (Value::Array(values), _) => {
            for value in values {
                collect(value, path, found);
            }
        }
        (_, []) => found.push(value),
        (Value::Object(members), [first, rest @ ..]) => {
            if let Some(value) = members.get(first.trim_end_matches("{}")) {
                collect(value, rest, found);
            }
        }
        _ => {}
    }
}

fn compare(dialect: Dialect, value: &Value, operator: Operator, wanted: &Pattern) -> bool {
    let text = match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Null | Value::Object(_) => {
            return operator == Operator::Is && wanted.allows_wildcards && wanted.text == "*";
        }
    };
    if matches!(operator, Operator::Is | Operator::IsNot) {
        let is_equal = match dialect {
            Dialect::Kql if wanted.allows_wildcards => is_like(&text, &wanted.text),
            Dialect::Kql => text == wanted.text,
            Dialect::Spl => is_like(&text.to_lowercase(), &wanted.text.to_lowercase()),
        };
        return is_equal == (operator == Operator::Is);
    }
    let (Ok(value), Ok(wanted)) = (text.parse::<f64>(), wanted.text.parse::<f64>()) else {
        return false;
    };
    match operator {
        Operator::AtLeast => value >= wanted,
        Operator::AtMost => value <= wanted,
        Operator::Is | Operator::IsNot => false,
        Operator::Less => value < wanted,
        Operator::More => value > wanted,
    }
}

/// Whether a text is like a pattern, in which `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inner, after) = quoted.split_once('"').ok_or("a quote is not closed")?;
            tokens.push(Token::Quoted(inner.to_owned()));
            rest = after;
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|it| rest.starts_with(it)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest.strip_prefix(symbol).unwrap_or(rest);
        } else {
            let ends = |it: char| it.is_whitespace() || "()\":=><!,".contains(it);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            if word.is_empty() {
                return Err(format!("cannot read {rest:?}"));
            }
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// Reads an operand of `and` or `or`.
type OperandParser = fn(&mut Parser) -> Result<Expression, String>;

struct Parser {
    dialect: Dialect,
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let is_there = self.tokens.get(self.at) == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    /// Takes a word of the language, which KQL has in lower and Splunk in upper case.
    fn take_word(&mut self, word: &str) -> bool {
        let word = match self.dialect {
            Dialect::Kql => word.to_owned(),
            Dialect::Spl => word.to_uppercase(),
        };
        self.take(&Token::Word(word))
    }

    /// In KQL a query is an `or` of `and`s, in Splunk an `and` of `or`s.
    fn parse_expression(&mut self) -> Result<Expression, String> {
        match self.dialect {
            Dialect::Kql => self.parse_or(Self::parse_kql_and),
            Dialect::Spl => self.parse_and(Self::parse_spl_or),
        }
    }

    fn parse_kql_and(&mut self) -> Result<Expression, String> {
        self.parse_and(Self::parse_not)
    }

    fn parse_spl_or(&mut self) -> Result<Expression, String> {
        self.parse_or(Self::parse_not)
    }

    fn parse_or(&mut self, operand: OperandParser) -> Result<Expression, String> {
        let mut any = vec![operand(self)?];
        while self.take_word("or") {
            any.push(operand(self)?);
        }
        Ok(Expression::Any(any))
    }

    fn parse_and(&mut self, operand: OperandParser) -> Result<Expression, String> {
        let mut all = vec![operand(self)?];
        loop {
            let is_joined = self.take_word("and");
            let ends = match self.tokens.get(self.at) {
                None | Some(Token::Symbol(")")) => true,
                Some(Token::Word(word)) => word == "OR" || word == "or",
                Some(Token::Quoted(_) | Token::Symbol(_)) => false,
            };
            if !is_joined && (ends || self.dialect == Dialect::Kql) {
                return Ok(Expression::All(all));
            }
            all.push(operand(self)?);
        }
    }

    fn parse_not(&mut self) -> Result<Expression, String> {
        if self.take_word("not") {
            return Ok(Expression::Not(Box::new(self.parse_not()?)));
        }
        if self.take(&Token::Symbol("(")) {
            let inner = self.parse_expression()?;
            return self.expect_close_paren(inner);
        }
        self.parse_comparison()
    }

    fn expect_close_paren(&mut self, inner: Expression) -> Result<Expression, String> {
        if self.take(&Token::Symbol(")")) {
            Ok(inner)
        } else {
            Err("a parenthesis is not closed".to_owned())
        }
    }

    fn parse_comparison(&mut self) -> Result<Expression, String> {
        let field = match self.next() {
            Some(Token::Quoted(field) | Token::Word(field)) => field,
            other => return Err(format!("{other:?} where a field is due")),
        };
        if self.dialect == Dialect::Spl && self.take_word("in") {
            return self.parse_list(&field, Token::Symbol(","));
        }
        let operator = match (self.dialect, self.next()) {
            (Dialect::Kql, Some(Token::Symbol(":"))) => Operator::Is,
            (Dialect::Spl, Some(Token::Symbol("="))) => Operator::Is,
            (Dialect::Spl, Some(Token::Symbol("!="))) => Operator::IsNot,
            (_, Some(Token::Symbol(">="))) => Operator::AtLeast,
            (_, Some(Token::Symbol("<="))) => Operator::AtMost,
            (_, Some(Token::Symbol(">"))) => Operator::More,
            (_, Some(Token::Symbol("<"))) => Operator::Less,
            (_, other) => return Err(format!("{other:?} where a comparison is due")),
        };
        let begins_list = self.tokens.get(self.at) == Some(&Token::Symbol("("));
        if self.dialect == Dialect::Kql && operator == Operator::Is && begins_list {
            return self.parse_list(&field, Token::Word("or".to_owned()));
        }
        Ok(Expression::Compare(field, operator, self.parse_value()?))
    }

    /// Values in parentheses, of which one is wanted.
    fn parse_list(&mut self, field: &str, between: Token) -> Result<Expression, String> {
        if !self.take(&Token::Symbol("(")) {
            return Err("a list has no parenthesis".to_owned());
        }
        let mut any = Vec::new();
        loop {
            any.push(Expression::Compare(
                field.to_owned(),
                Operator::Is,
                self.parse_value()?,
            ));
            if !self.take(&between) {
                return self.expect_close_paren(Expression::Any(any));
            }
        }
    }

    fn parse_value(&mut self) -> Result<Pattern, String> {
        let (text, allows_wildcards) = match self.next() {
            Some(Token::Quoted(text)) => (text, self.dialect == Dialect::Spl),
            Some(Token::Word(text)) => (text, true),
            other => return Err(format!("{other:?} where a value is due")),
        };
        Ok(Pattern {
            text,
            allows_wildcards,
        })
    }
}

#[test]
fn queries_match_as_their_languages_say() {
    let event = serde_json::json!({
        "a": {"b": ["x", "Yes"], "n": 4}, "flag": true, "list": [{"name": "one"}, {"name": "two"}]
    });
    for (dialect, text, wanted) in [
        (Dialect::Kql, r#"a.b : "x" and a.n >= 4"#, true),
        (Dialect::Kql, r#"a.b : "yes""#, false),
        (
            Dialect::Kql,
            r#"a.b : ("q" or "Yes") and not a.n > 4"#,
            true,
        ),
        (Dialect::Kql, "a.c : * or list.name : t*", true),
        (Dialect::Kql, r#"list.name : "t*""#, false),
        (Dialect::Kql, "a.n : 4 or flag : true and a.n : 5", true),
        (Dialect::Kql, r#"not (flag : true)"#, false),
        (Dialect::Spl, r#"a.b{}="yes" a.n=4"#, true),
        (Dialect::Spl, r#"a.b{}="yes" a.n<4"#, false),
        (
            Dialect::Spl,
            r#"list{}.name IN ("three", "TWO") NOT a.c=*"#,
            true,
        ),
        (Dialect::Spl, r#"(flag=false OR a.n<=4) a.n!=5"#, true),
        (Dialect::Spl, r#"a.n!=4"#, false),
        // The field must be there, and one other value is enough.
        (Dialect::Spl, "a.c!=5", false),
        (Dialect::Spl, "NOT a.c=5", true),
        (Dialect::Spl, "a.b{}!=x", true),
        (Dialect::Spl, r#"list{}.name="t*""#, true),
        (Dialect::Spl, "a.n=4 OR flag=true a.n=5", false),
    ] {
        let query = Query::parse(dialect, text).unwrap();
        assert_eq!(query.matches(&event), wanted, "{text}");
    }
    for (dialect, text) in [
        (Dialect::Kql, "a :"),
        (Dialect::Kql, "a : (b or c"),
        (Dialect::Kql, "a b"),
        (Dialect::Kql, "(a : b"),
        (Dialect::Kql, "a = 4"),
        (Dialect::Kql, "a != 4"),
        (Dialect::Kql, "a >= (4 or 5)"),
        (Dialect::Kql, r#"a != ("x")"#),
        (Dialect::Kql, "a IN (4, 5)"),
        (Dialect::Spl, "a:4"),
        (Dialect::Spl, "a=(4 OR 5)"),
        (Dialect::Spl, "a=4 or a=5"),
    ] {
        assert!(Query::parse(dialect, text).is_err(), "{text}");
    }
}
