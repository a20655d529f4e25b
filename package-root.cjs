// Where this package is, for src/ and dist/ alike: of their two module systems only CommonJS can say it in
// a way that both compile. In an ES module that a bundler made there is no such name.
module.exports = typeof __dirname === 'string' ? __dirname : undefined
