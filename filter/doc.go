// Package filter decides which messages a subscription wants: by tag, or by an
// SQL92 expression over a message's properties, as RocketMQ does.
//
// An expression is compiled once; Match then reads the stored properties where they
// lie and allocates nothing. No expression and no property makes the package panic.
//
//	expression  = and { OR and }
//	and         = equality { AND equality }
//	equality    = comparison { ( "=" | "<>" ) comparison | IS [ NOT ] NULL }
//	comparison  = unary { ( "<" | "<=" | ">" | ">=" ) unary
//	                    | [ NOT ] BETWEEN unary AND unary
//	                    | [ NOT ] IN "(" string { "," string } ")"
//	                    | [ NOT ] ( CONTAINS | STARTSWITH | ENDSWITH ) string }
//	unary       = ( "+" | "-" | NOT ) unary | string | number | TRUE | FALSE | NULL
//	            | property | "(" expression ")"
//
// Words of the language are in any case, names of properties are not. A name is a
// letter, _ or $, then also digits. Strings are in single quotes, ” is one in them.
// Comments are -- to the end of the line, and /* */.
//
// A property's value is a string, one that is missing is NULL. What it is compared with
// decides what it is read as:
//
//	with an integer       a 32-bit integer, or of 64 bits if the literal needs them; 3.0,
//	                      blanks and what is out of range cannot be read
//	with a decimal        a double
//	with TRUE or FALSE    TRUE if it is "true" in any case, else FALSE
//	with a string         itself: = and <> only
//	with a property       = and <>: itself; < and so on: a double
//
// A condition is true, false, unknown, or failed: a value could not be read. Only a
// message for which the whole is true matches. AND, OR and NOT treat unknown as SQL
// does and look at what decides only, from the left; a failure that is met ends the
// evaluation: the message does not match. What follows is RocketMQ's too:
//
//   - missing = 'x' is unknown, missing <> 'x' too; missing = alsoMissing is true;
//     'x' = missing is false, so 'x' <> missing is true
//   - CONTAINS, STARTSWITH and ENDSWITH, with and without NOT, are false for what is
//     missing, and for an empty string to be looked for
//   - NOT binds to the next operand: NOT a = 'x' is (NOT a) = 'x', so write NOT (a = 'x')
//   - a property alone is false, or unknown
//   - BETWEEN whose constants are in the wrong order is refused
//
// Two things differ. RocketMQ ignores what follows an expression that is whole, and does
// not take 0.0; here the first is refused, and the second taken. And only the digits 0
// to 9 make a number.
package filter
