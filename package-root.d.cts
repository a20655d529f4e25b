declare const packageRoot: string | undefined
export = packageRoot
